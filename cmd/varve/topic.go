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
					t.row(x.Name, queues(x), x.Messages, dash(x.Type))
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
				t.row("BROKER", "QUEUE", "MIN", "HOT START", "ARCHIVED TO", "MAX", "FIRST STORED", "LAST STORED", "STATE")
				for _, q := range d.Detail {
					first := fmt.Sprint(q.Min)
					if q.Min < 0 {
						first = "-"
					}
					t.row(q.Broker, q.ID, first, q.HotStart, q.Archived, q.Max, q.FirstTime, q.LastTime, q.State)
				}
				partial(t, d.Topic)
			})
		},
	}
}

// queues says how many queues a topic has, and which of them not everybody uses.
func queues(x admin.Topic) string {
	out := fmt.Sprint(min(x.ReadQueues, x.WriteQueues))
	if n := x.ReadQueues - x.WriteQueues; n > 0 {
		out += fmt.Sprintf(" + %d %s", n, admin.QueueReadOnly)
	} else if n < 0 {
		out += fmt.Sprintf(" + %d %s", -n, admin.QueueWriteOnly)
	}
	if len(x.Closed) > 0 {
		out += fmt.Sprintf(" + %d %s", len(x.Closed), admin.QueueClosed)
	}
	return out
}

func topicCreate() *cobra.Command {
	spec := admin.TopicSpec{}
	cmd := &cobra.Command{
		Use: "create TOPIC", Short: "Make a topic, or change its number of queues and its type", Args: cobra.ExactArgs(1),
		Long: `Make a topic, or change one. What isn't given stays as it is.

To shrink a topic, first have only its producers use fewer queues, as in
--queues 2 --read-queues 8; once the consumers are through with the others, give
--queues 2 alone. No consumer is routed to a queue beyond that; its messages
stay, for "message read", SQL and replay.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name = args[0]
			for name, n := range map[string]int{"queues": spec.Queues, "read-queues": spec.ReadQueues} {
				if cmd.Flags().Changed(name) && n < 1 {
					return usageError{fmt.Errorf("--%s: %d is less than 1", name, n)}
				}
			}
			made, err := client(cmd).CreateTopic(cmd.Context(), spec)
			if err != nil {
				return err
			}
			if err := show(cmd, made, func(t *table) { t.row(fmt.Sprintf("topic %s has %s queues", made.Name, queues(made))) }); err != nil {
				return err
			}
			warnClosed(cmd, made)
			return nil
		},
	}
	cmd.Flags().IntVar(&spec.Queues, "queues", 0, "number of queues; 4 for a new topic where it isn't given")
	cmd.Flags().IntVar(&spec.ReadQueues, "read-queues", 0, "number of queues that consumers read where that is more than --queues")
	cmd.Flags().StringVar(&spec.Type, "type", "", "messages that it takes: NORMAL, FIFO, DELAY, TRANSACTION or MIXED (all); see broker.check-types")
	return cmd
}

// warnClosed says which queues consumers are not routed to that hold messages.
func warnClosed(cmd *cobra.Command, x admin.Topic) {
	if len(x.Closed) == 0 {
		return
	}
	var each []string
	for _, q := range x.Closed {
		each = append(each, fmt.Sprintf("queue %d holds %d", q.ID, q.Messages))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "warning: messages stay in queues that no consumer is routed to any more: %s; a group that isn't through with them gets them after: varve topic create %s --queues %d --read-queues %d\n",
		strings.Join(each, ", "), x.Name, x.WriteQueues, x.Closed[len(x.Closed)-1].ID+1)
}
