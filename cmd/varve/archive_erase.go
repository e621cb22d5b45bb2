package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"varve/internal/admin"
)

func archiveErase() *cobra.Command {
	var e admin.Erase
	var queue int32
	var offset int64
	cmd := &cobra.Command{
		Use: "erase TOPIC", Short: "Erase messages for good: by key, by message id, or by queue and offset",
		Long: `Rewrite away body, keys, tag and properties of archived messages; header and
message id stay, and the proof still verifies. A signed certificate says who
asked for it, why, and which messages they were. Refused while a message is still
in the hot log (varve archive flush, varve archive trim) or under a hold.

The old files go with the next sweep after the grace period (retention.grace,
retention.sweep), when no leased snapshot needs them any more; varve archive
erasures says when they are gone. Whoever copied them has them still, and a
versioned bucket its old versions, until its own rules end them.`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&e.Key, "key", "", "erase all messages with this key")
	cmd.Flags().StringVar(&e.MsgID, "message", "", "erase the message with this id")
	cmd.Flags().Int32Var(&queue, "queue", -1, "queue of the message at --offset")
	cmd.Flags().Int64Var(&offset, "offset", -1, "offset of the message")
	cmd.Flags().StringVar(&e.Why, "why", "", "reason, for the certificate; never put into it what is to be erased")
	cmd.Flags().StringVar(&e.Who, "who", "", "who asks for it; the user of this machine where empty")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if queue >= 0 || offset >= 0 {
			e.Queue, e.Offset = &queue, &offset
		}
		switch {
		case e.Queue != nil && (queue < 0 || offset < 0):
			return usageError{errors.New("--queue and --offset come together")}
		case e.Why == "":
			return usageError{errors.New("--why is missing: the certificate needs a reason")}
		case e.Who == "":
			if e.Who = os.Getenv(envUser); e.Who == "" {
				if u, err := user.Current(); err == nil {
					e.Who = u.Username
				}
			}
		}
		c, err := client(cmd).Erase(cmd.Context(), args[0], e)
		if err != nil {
			return err
		}
		return show(cmd, c, func(t *table) {
			t.row("certificate", c.ID)
			t.row("erased", fmt.Sprintf("%d messages in %d files", len(c.Rows), len(c.Files)))
			t.row("", "the old files are still in the bucket, for readers under way; varve archive erasures "+c.Topic+" says when they are gone")
			for _, r := range c.Rows {
				t.row("", fmt.Sprintf("%s/%s/%d offset %d, message %s", r.Broker, c.Topic, r.Queue, r.Offset, r.MsgID))
			}
		})
	}
	return cmd
}

func archiveErasures() *cobra.Command {
	return &cobra.Command{
		Use: "erasures TOPIC", Short: "List the certificates of a topic's erasures", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := client(cmd).Erasures(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return show(cmd, list, func(t *table) {
				t.row("AT", "CERTIFICATE", "MESSAGES", "OLD FILES", "WHO", "WHY", "OF")
				for _, c := range list {
					old := "gone"
					if c.OldFiles > 0 {
						old = fmt.Sprintf("%d still there", c.OldFiles)
					}
					t.row(c.At, c.ID, len(c.Rows), old, c.Who, c.Why, c.Asked)
				}
			})
		},
	}
}
