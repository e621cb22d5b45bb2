package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"varve/internal/admin"
	"varve/internal/mq"
)

func dlqCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "dlq", Short: "Dead letters: list, show, give back to their group"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List the groups that have dead letters", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dead, err := client(cmd).DeadLetters(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, dead, func(t *table) {
				t.row("GROUP", "MESSAGES", "NOT RESENT", "TOPIC")
				for _, d := range dead {
					t.row(d.Group, d.Messages, d.Waiting, d.Topic)
				}
			})
		},
	}, dlqShow(), dlqResend())
	return cmd
}

func dlqShow() *cobra.Command {
	var (
		from string
		s    admin.Stretch
	)
	cmd := &cobra.Command{
		Use: "show GROUP", Short: "Show a group's dead letters by store time", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if s.From, err = timeFlag("from", from); err != nil {
				return err
			}
			s.Topic, s.Offset = mq.DLQTopic(args[0]), -1
			var api *admin.Error
			if _, err := client(cmd).Topic(cmd.Context(), s.Topic); errors.As(err, &api) && api.Code == admin.CodeNotFound {
				return admin.NotFound("group %q has no dead letters; varve dlq list shows the groups that have some", args[0])
			}
			return readTopic(cmd, s)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "first store time")
	cmd.Flags().StringVar(&s.SQL, "where", "", `property expression, such as "RETRY_TOPIC = 'orders'"`)
	cmd.Flags().IntVar(&s.Max, "max", 32, "most messages")
	return cmd
}

func dlqResend() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "resend GROUP (ID... | --all)", Short: "Give dead letters back to their group, as if never tried",
		Long: "Give dead letters back to their group through its retry topic: no other group sees them again. " +
			"The letters stay where they are; --all takes those that came since the last --all.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 1) {
				return usageError{errors.New("message ids or --all: give one of them")}
			}
			r := admin.Resend{IDs: args[1:], All: all}
			var sum admin.Resent
			for {
				sent, err := client(cmd).ResendDeadLetters(cmd.Context(), args[0], r)
				if err != nil {
					return err
				}
				sum.Sent += sent.Sent
				if !sent.More {
					break
				}
			}
			return show(cmd, sum, func(t *table) { t.row(fmt.Sprintf("%d given back to %s", sum.Sent, args[0])) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all that came since the last time")
	return cmd
}
