package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/admin"
	"varve/internal/units"
)

func archiveCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "archive", Short: "The archive: status, files, flush, compact, trim, restore, import, proof"}
	cmd.AddCommand(&cobra.Command{
		Use: "status", Short: "Show what the archive has and what is still to come", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := client(cmd).ArchiveStatus(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, s, func(t *table) {
				archivedRows(t, s)
				t.row("archive at " + s.Location)
				for _, x := range s.Topics {
					if x.Error != "" {
						t.row("topic " + x.Topic + " is blocked: " + x.Error)
					}
				}
				if s.Unreached != "" {
					t.row(s.Unreached)
				}
				for _, x := range s.Topics {
					for _, g := range x.Gaps {
						t.row(fmt.Sprintf("not archived, by choice: offsets %d to %d of %s/%s/%d", g.From, g.To-1, g.Broker, x.Topic, g.Queue))
					}
				}
				if s.Error != "" {
					t.row("the connector waits: " + s.Error)
				}
				compactionRows(t, s.Compaction)
				stateRows(t, s.State)
				for _, f := range s.BadFiles {
					t.row(fmt.Sprintf("can't be read: %s (%s/%s/%d, offsets %d to %d) from offset %d on: %s", f.Name, f.Broker, f.Topic, f.Queue, f.From, f.To-1, f.At, f.Reason))
				}
				for _, x := range s.Topics {
					if len(x.Holds) > 0 {
						t.row(fmt.Sprintf("topic %s is held: %s (%d files, and those that may have its keys)", x.Topic, strings.Join(x.Holds, ", "), x.Held))
					}
				}
				if s.Lock != nil {
					t.row(s.Lock.String())
				}
				for _, b := range s.Blocked {
					t.row(fmt.Sprintf("not archived any more: %s/%s/%d: %s", b.Broker, b.Topic, b.Queue, b.Reason))
				}
			})
		},
	}, &cobra.Command{
		Use: "files TOPIC", Short: "List a topic's data files", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := client(cmd).ArchiveFiles(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return show(cmd, files, func(t *table) {
				t.row("QUEUE", "FROM", "TO", "MESSAGES", "BYTES", "FIRST STORED", "LAST STORED", "FILE")
				for _, f := range files {
					t.row(fmt.Sprintf("%s/%d", f.Broker, f.Queue), f.From, f.To, f.Messages, size(f.Bytes), f.FirstTime, f.LastTime, f.Name)
				}
			})
		},
	}, archiveFlush(), archiveCompact(), archiveTrim(), archiveRestore(), archiveKeygen(), archiveVerify(), archiveProve(), archiveCheckProof(), archiveErase(), archiveErasures(), archiveImport())
	return cmd
}

// stateRows says up to when a restore has the state, and why not up to now.
func stateRows(t *table, s *admin.ArchiveState) {
	switch {
	case s == nil:
		return
	case !s.At.IsZero():
		t.row(fmt.Sprintf("state in the bucket: all of %s (snapshot %d-%d)", s.At.Format("2006-01-02 15:04:05"), s.Generation, s.Sequence))
	case s.Error == "":
		t.row("state in the bucket: no snapshot since the start yet")
	}
	if s.Error != "" {
		t.row("the state is not kept in the bucket: " + s.Error)
	}
}

// flushLook is how often a flush that waits looks why.
const flushLook = 3 * time.Second

func archiveFlush() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{Use: "flush", Short: "Archive everything stored so far and wait for it", Args: cobra.NoArgs}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after this long, with exit code 1; never where 0")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if timeout < 0 {
			return usageError{fmt.Errorf("--timeout: %s is negative", timeout)}
		}
		ctx, cancel := context.WithCancel(cmd.Context())
		if timeout > 0 {
			ctx, cancel = context.WithTimeout(cmd.Context(), timeout)
		}
		defer cancel()
		err := awaitFlush(ctx, cmd)
		if errors.Is(err, context.DeadlineExceeded) && cmd.Context().Err() == nil {
			err = fmt.Errorf("not everything is archived within %s", timeout)
			if s, look := client(cmd).ArchiveStatus(cmd.Context()); look == nil {
				err = fmt.Errorf("%w: %s", err, flushWaits(s))
			}
		}
		if err != nil {
			return err
		}
		return show(cmd, map[string]bool{"flushed": true}, func(t *table) { t.row("the archive has everything that was stored") })
	}
	return cmd
}

// flushWaits says what a flush waits for.
func flushWaits(s admin.ArchiveStatus) string {
	out := fmt.Sprintf("%d messages wait", s.Pending)
	for _, t := range s.Topics {
		if t.Pending > 0 {
			out += ", such as those of topic " + t.Topic
			break
		}
	}
	switch {
	case len(s.Blocked) > 0:
		b := s.Blocked[0]
		out += fmt.Sprintf("; queue %d of topic %s on %s is not archived: %s", b.Queue, b.Topic, b.Broker, b.Reason)
	case s.Error != "":
		out += ": " + s.Error
	case s.Pending == 0:
		out = "the last message was archived only now"
	}
	return out
}

// awaitFlush says on standard error why the flush waits, when that changes.
func awaitFlush(ctx context.Context, cmd *cobra.Command) error {
	done := make(chan error, 1)
	go func() { done <- client(cmd).Flush(ctx) }()
	look := time.NewTicker(flushLook)
	defer look.Stop()
	for said := ""; ; {
		select {
		case err := <-done:
			return err
		case <-look.C:
			if s, err := client(cmd).ArchiveStatus(ctx); err == nil && s.Error != "" && s.Error != said {
				said = s.Error
				fmt.Fprintf(cmd.ErrOrStderr(), "%d messages wait: %s\n", s.Pending, s.Error)
			}
		}
	}
}

func archiveTrim() *cobra.Command {
	keep := ""
	cmd := &cobra.Command{
		Use: "trim", Short: "Free from the hot log what the archive has", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var bytes units.Bytes
			if strings.TrimSpace(keep) != "" {
				var err error
				if bytes, err = units.ParseBytes(keep); err != nil {
					return usageError{fmt.Errorf("--keep: %w", err)}
				}
			}
			done, err := client(cmd).Trim(cmd.Context(), int64(bytes))
			if err != nil {
				return err
			}
			return show(cmd, done, func(t *table) { t.row("freed " + size(done.FreedBytes) + " of the hot log") })
		},
	}
	cmd.Flags().StringVar(&keep, "keep", "0", "bytes that stay hot")
	return cmd
}

// archivedRows shows what the archive has of each topic: nothing is known of it
// while it can't be asked.
func archivedRows(t *table, s admin.ArchiveStatus) {
	t.row("TOPIC", "MESSAGES", "FILES", "BYTES", "RAW", "RATIO", "PENDING", "LAST STORED")
	for _, x := range s.Topics {
		if s.Unreached != "" {
			t.row(x.Topic, "-", "-", "-", "-", "-", x.Pending, "-")
			continue
		}
		raw, ratio := "-", "-"
		if x.RawBytes > 0 {
			raw, ratio = size(x.RawBytes), fmt.Sprintf("%.0f %%", 100*float64(x.Bytes)/float64(x.RawBytes))
		}
		t.row(x.Topic, x.Messages, x.Files, size(x.Bytes), raw, ratio, x.Pending, x.LastTime)
	}
}
