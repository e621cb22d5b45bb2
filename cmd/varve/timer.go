package main

import (
	"time"

	"github.com/spf13/cobra"

	"varve/internal/admin"
)

func timerCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "timer", Short: "Messages that wait for their time: list, recall"}
	cmd.AddCommand(timerList(), &cobra.Command{
		Use: "recall HANDLE", Short: "Take back a message before it is delivered",
		Long: "Take back a message before it is delivered. HANDLE is the recall handle that its send or `varve timer list -o json` gave.\n" +
			"It succeeds only if the message was still held back; then it will never be delivered.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			got, err := client(cmd).Recall(cmd.Context(), admin.Recall{Handle: args[0]})
			if err != nil {
				return err
			}
			return show(cmd, got, func(t *table) { t.row("recalled " + got.MsgID) })
		},
	})
	return cmd
}

func timerList() *cobra.Command {
	var s admin.HeldSearch
	var from string
	cmd := &cobra.Command{
		Use: "list", Short: "List messages that wait, soonest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from != "" {
				var err error
				if s.From, err = admin.ParseTime(from, time.Now()); err != nil {
					return usageError{err}
				}
			}
			p, err := client(cmd).Held(cmd.Context(), s)
			if err != nil {
				return err
			}
			return show(cmd, p, func(t *table) {
				t.row("DUE", "TOPIC", "MESSAGE ID", "SENT", "LEVEL", "SIZE")
				for _, h := range p.Held {
					t.row(h.Due, h.Topic, dash(h.MsgID), h.Sent, dash(h.Level), size(int64(h.Bytes)))
				}
				if p.More {
					t.row("the first of", p.Total, "that wait; more with --max or --from")
				}
			})
		},
	}
	cmd.Flags().StringVar(&s.Topic, "topic", "", "one topic only")
	cmd.Flags().StringVar(&from, "from", "", "due then or later: an RFC 3339 time, or milliseconds since 1970")
	cmd.Flags().IntVar(&s.Max, "max", 0, "most to list; 32 where it isn't given")
	return cmd
}
