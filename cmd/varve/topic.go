package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/admin"
)

func topicCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "topic", Short: "List, show, make and delete topics"}
	all := false
	list := &cobra.Command{
		Use: "list", Short: "List the topics", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			topics, err := client(cmd).Topics(cmd.Context())
			if err != nil {
				return err
			}
			if !all {
				kept := []admin.Topic{}
				for _, t := range topics {
					if !t.System {
						kept = append(kept, t)
					}
				}
				topics = kept
			}
			return show(cmd, topics, func(t *table) {
				t.row("TOPIC", "QUEUES", "MESSAGES", "TYPE")
				for _, x := range topics {
					t.row(x.Name, x.Queues, x.Messages, x.Type)
				}
				partial(t, topics...)
			})
		},
	}
	list.Flags().BoolVar(&all, "all", false, "the broker's own topics too")
	cmd.AddCommand(list, topicShow(), topicCreate(), &cobra.Command{
		Use: "delete TOPIC", Short: "Delete a topic from the broker; its archive stays", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client(cmd).DeleteTopic(cmd.Context(), args[0]); err != nil {
				return err
			}
			return show(cmd, map[string]string{"deleted": args[0]}, func(t *table) { t.row("deleted " + args[0]) })
		},
	})
	return cmd
}

// partial says of which topics the archived messages are not counted, and why.
func partial(t *table, topics ...admin.Topic) {
	var names []string
	why := ""
	for _, x := range topics {
		if x.Error != "" {
			names, why = append(names, x.Name), cmp.Or(why, x.Error)
		}
	}
	if names != nil {
		t.row("only what is hot is shown of " + strings.Join(names, ", ") + ": " + why)
	}
}

func topicShow() *cobra.Command {
	return &cobra.Command{
		Use: "show TOPIC", Short: "Show a topic's queues: where they start, what is hot, what is archived", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := client(cmd).Topic(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return show(cmd, d, func(t *table) {
				t.row("BROKER", "QUEUE", "MIN", "HOT START", "ARCHIVED TO", "MAX", "FIRST STORED", "LAST STORED")
				for _, q := range d.Detail {
					first := fmt.Sprint(q.Min)
					if q.Min < 0 {
						first = "-"
					}
					t.row(q.Broker, q.ID, first, q.HotStart, q.Archived, q.Max, q.FirstTime, q.LastTime)
				}
				partial(t, d.Topic)
			})
		},
	}
}

func topicCreate() *cobra.Command {
	spec := admin.TopicSpec{}
	cmd := &cobra.Command{
		Use: "create TOPIC", Short: "Make a topic, or change its number of queues and its type", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name = args[0]
			made, err := client(cmd).CreateTopic(cmd.Context(), spec)
			if err != nil {
				return err
			}
			return show(cmd, made, func(t *table) { t.row(fmt.Sprintf("topic %s has %d queues", made.Name, made.Queues)) })
		},
	}
	cmd.Flags().IntVar(&spec.Queues, "queues", 4, "number of queues")
	cmd.Flags().StringVar(&spec.Type, "type", "", "messages that it takes: NORMAL, FIFO, DELAY, TRANSACTION or MIXED (all); see broker.check-types")
	return cmd
}
