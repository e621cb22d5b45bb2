package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/units"
)

func archiveCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "archive", Short: "The archive: status, files, flush, trim"}
	cmd.AddCommand(&cobra.Command{
		Use: "status", Short: "Show what the archive has and what is still to come", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := client(cmd).ArchiveStatus(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, s, func(t *table) {
				t.row("TOPIC", "MESSAGES", "FILES", "BYTES", "RAW", "RATIO", "PENDING", "LAST STORED")
				for _, x := range s.Topics {
					ratio := "-"
					if x.RawBytes > 0 {
						ratio = fmt.Sprintf("%.0f %%", 100*float64(x.Bytes)/float64(x.RawBytes))
					}
					t.row(x.Topic, x.Messages, x.Files, size(x.Bytes), size(x.RawBytes), ratio, x.Pending, x.LastTime)
				}
				t.row("archive at " + s.Location)
				for _, x := range s.Topics {
					if x.Error != "" {
						t.row("topic " + x.Topic + " is blocked: " + x.Error)
					}
				}
				if s.Error != "" {
					t.row("the connector waits: " + s.Error)
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
	}, &cobra.Command{
		Use: "flush", Short: "Archive everything stored so far and wait for it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := client(cmd).Flush(cmd.Context()); err != nil {
				return err
			}
			return show(cmd, map[string]bool{"flushed": true}, func(t *table) { t.row("the archive has everything that was stored") })
		},
	}, archiveTrim())
	return cmd
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
