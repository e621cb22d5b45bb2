package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/admin"
)

func groupCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "group", Short: "Consumer groups: list, show, reset, delete"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List the consumer groups", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			groups, err := client(cmd).Groups(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, groups, func(t *table) {
				t.row("GROUP", "CLIENTS", "LAG", "TOPICS")
				for _, g := range groups {
					t.row(g.Name, g.Clients, g.Lag, dash(strings.Join(g.Topics, " ")))
				}
			})
		},
	}, &cobra.Command{
		Use: "show GROUP", Short: "Show a group's members, and its offsets and lag, queue by queue", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := client(cmd).Group(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return show(cmd, d, func(t *table) {
				memberRows(t, d.ClientIDs)
				differingRows(t, d.Differing)
				offsetRows(t, d.Offsets)
			})
		},
	}, groupReset(), &cobra.Command{
		Use: "delete GROUP", Short: "Forget a group and its offsets", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client(cmd).DeleteGroup(cmd.Context(), args[0]); err != nil {
				return err
			}
			return show(cmd, map[string]string{"deleted": args[0]}, func(t *table) { t.row("deleted " + args[0]) })
		},
	})
	return cmd
}

func groupReset() *cobra.Command {
	var reset admin.Reset
	queue := int32(-1)
	cmd := &cobra.Command{
		Use: "reset GROUP --topic TOPIC --to earliest|latest|TIME|offset:N", Short: "Move a group's offsets", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if queue >= 0 {
				reset.Queue = &queue
			}
			if reset.Topic == "" {
				return usageError{errors.New("--topic: of which topic?")}
			}
			if err := resetTarget(reset.To); err != nil {
				return err
			}
			moved, err := client(cmd).ResetGroup(cmd.Context(), args[0], reset)
			if err != nil {
				return err
			}
			return show(cmd, moved, func(t *table) { offsetRows(t, moved) })
		},
	}
	cmd.Flags().StringVar(&reset.Topic, "topic", "", "topic")
	cmd.Flags().StringVar(&reset.To, "to", "", "earliest, latest, an RFC 3339 time, a time ago such as 15m, or offset:N")
	cmd.Flags().Int32Var(&queue, "queue", -1, "one queue only")
	return cmd
}

// resetTarget reports what is wrong with a --to.
func resetTarget(to string) error {
	switch {
	case to == "":
		return usageError{errors.New("--to: earliest, latest, a time or offset:N is needed")}
	case to == "earliest", to == "latest", strings.HasPrefix(to, "offset:"):
		return nil
	}
	_, err := timeFlag("to", to)
	return err
}

// memberRows names a group's clients: those that share all queues are in no row
// of its offsets.
func memberRows(t *table, ids []string) {
	if len(ids) == 0 {
		return
	}
	t.row("MEMBER")
	for _, id := range ids {
		t.row(id)
	}
	t.row("")
}

// differingRows says that clients of a group don't agree.
func differingRows(t *table, wishes []admin.Wish) {
	if len(wishes) == 0 {
		return
	}
	t.row("These clients subscribe to different things; messages will miss those that want them:")
	t.row("CLIENT", "SUBSCRIPTIONS")
	for _, w := range wishes {
		for _, id := range w.ClientIDs {
			t.row(id, strings.Join(w.Subscriptions, "; "))
		}
	}
	t.row("")
}

func offsetRows(t *table, offsets []admin.GroupOffset) {
	t.row("TOPIC", "BROKER", "QUEUE", "OFFSET", "MAX", "LAG", "CLIENT")
	for _, o := range offsets {
		t.row(o.Topic, o.Broker, o.Queue, o.Offset, o.Max, o.Lag, dash(o.ClientID))
	}
}
