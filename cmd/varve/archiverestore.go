package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/app"
)

func archiveRestore() *cobra.Command {
	var o app.RestoreOptions
	cmd := &cobra.Command{
		Use: "restore", Short: "Make an empty data directory from the archive of a broker group",
		Long: `Make a data directory for a broker group whose disk is lost: topics, settings,
groups' offsets, users, rules, what is held back, and queues that go on behind
the archive. Then start the server on it. "varve server --restore" does both.

It needs no running server but the settings of the lost one: broker.name, the
archive, and an empty data-dir. From then on whoever still has the old data
directory archives nothing any more. It may be repeated when it was cut short.`,
		Args: cobra.NoArgs,
	}
	configFlags(cmd)
	cmd.Flags().BoolVar(&o.WithoutUsers, "without-users", false, "leave the users out, where the auth.key that sealed their passwords is lost too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, log, err := loadConfigAndLogger(cmd)
		if err != nil {
			return err
		}
		done, err := app.Restore(cmd.Context(), &l.Config, o, log)
		if err != nil {
			return err
		}
		return show(cmd, done, func(t *table) { restored(t, done) })
	}
	return cmd
}

// restored says what there is again and what is not.
func restored(t *table, r *app.Restored) {
	t.row("RESTORED", "")
	t.row("broker group", r.Broker)
	t.row("from", r.Location)
	t.row("generation", r.Generation)
	t.row("topics", r.Topics)
	t.row("queues that go on", r.Queues)
	if r.Messages.IsZero() {
		t.row("messages up to", "none archived")
	} else {
		t.row("messages up to", r.Messages.Format(time.RFC3339))
	}
	if r.State.IsZero() {
		t.row("state as of", "no snapshot: groups begin anew")
	} else {
		t.row("state as of", fmt.Sprintf("%s (%s ago)", r.State.Format(time.RFC3339), time.Since(r.State).Round(time.Second)))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Items)) {
		t.row("  "+name, r.Items[name])
	}
	t.row("lost, that the snapshot knew of", fmt.Sprintf("%d messages", r.Lost))
	for _, why := range r.Passed {
		t.row("passed over", why)
	}
	t.row("took", r.Took.Round(time.Millisecond))
}
