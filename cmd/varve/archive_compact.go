package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"varve/internal/admin"
)

func archiveCompact() *cobra.Command {
	return &cobra.Command{
		Use: "compact [TOPIC]", Short: "Put small data files together now, of one topic or of all", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			topic := ""
			if len(args) > 0 {
				topic = args[0]
			}
			c, err := client(cmd).Compact(cmd.Context(), topic)
			if err != nil {
				return err
			}
			return show(cmd, c, func(t *table) {
				if c.Merges == 0 {
					t.row("nothing to put together")
					return
				}
				t.row(fmt.Sprintf("%d files became %d: %s, were %s", c.Files, c.Merges, size(c.BytesOut), size(c.BytesIn)))
			})
		},
	}
}

// compactionRows says what compaction does and why it doesn't.
func compactionRows(t *table, c *admin.ArchiveCompaction) {
	if c == nil {
		return
	}
	if c.Merges > 0 {
		t.row(fmt.Sprintf("compaction: %d files became %d since the start", c.Files, c.Merges))
	}
	if c.Running != "" {
		t.row("compaction works on " + c.Running)
	}
	if c.Paused != "" {
		t.row("compaction waits: " + c.Paused)
	}
	if c.Error != "" {
		t.row(fmt.Sprintf("compaction failed at %s: %s", c.ErrorAt.Format("2006-01-02 15:04:05"), c.Error))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Left)) {
		t.row("compaction leaves alone: " + name + ": " + c.Left[name])
	}
}
