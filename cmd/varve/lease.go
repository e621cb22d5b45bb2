package main

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/admin"
	"varve/internal/retention"
	"varve/internal/units"
)

func leaseCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "lease", Short: "Leases: what a named reader still needs"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List the leases, those that ended lately too", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := client(cmd).Leases(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, list, func(t *table) {
				t.row("LEASE", "STATE", "TOPIC", "KEEPS", "HOLDS BACK", "SINCE", "EXPIRES", "BY", "WHY")
				for _, l := range list {
					t.row(l.Name, l.State, l.Topic, leaseScope(l.Lease), size(l.Kept), l.Since, l.Expires, dash(l.By), dash(l.Why))
				}
				for _, l := range list {
					if l.Alarm != "" {
						t.row("lease " + l.Name + ": " + l.Alarm)
					}
				}
			})
		},
	}, leaseSet(), leaseRenew(), &cobra.Command{
		Use: "release NAME", Short: "End a lease", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client(cmd).ReleaseLease(cmd.Context(), args[0]); err != nil {
				return err
			}
			return show(cmd, map[string]string{"released": args[0]}, func(t *table) { t.row("released " + args[0]) })
		},
	})
	return cmd
}

func leaseScope(l retention.Lease) string {
	if l.Snapshot != 0 {
		return fmt.Sprintf("snapshot %d", l.Snapshot)
	}
	if len(l.Positions) == 1 {
		p := l.Positions[0]
		return fmt.Sprintf("%s/%d from %d", p.Broker, p.Queue, p.Offset)
	}
	return fmt.Sprintf("%d queues", len(l.Positions))
}

// needQueue refuses an offset of no queue: it would be of queue 0, unasked.
func needQueue(cmd *cobra.Command) error {
	if cmd.Flags().Changed("offset") != cmd.Flags().Changed("queue") {
		return usageError{errors.New("--offset and --queue go together")}
	}
	return nil
}

// showLease prints a lease; ttl is how long it was asked to last.
func showLease(cmd *cobra.Command, l retention.Lease, ttl time.Duration) error {
	return show(cmd, l, func(t *table) {
		t.row("LEASE", "TOPIC", "KEEPS", "EXPIRES")
		t.row(l.Name, l.Topic, leaseScope(l), l.Expires)
		if l.Expires.Before(l.Renewed.Add(ttl)) {
			t.row(fmt.Sprintf("it ends before the %v asked for: no lease lasts longer than retention.lease-age", ttl))
		}
	})
}

func leaseSet() *cobra.Command {
	s := admin.LeaseSpec{TTL: units.Duration(24 * time.Hour)}
	p := retention.Position{}
	from, snapshot := "", ""
	cmd := &cobra.Command{
		Use: "set NAME --topic TOPIC --from TIME", Short: "Make a lease or change it",
		Long: `Make a lease or change it: of a topic, from a time on in all queues (--from),
from an offset on in one (--queue and --offset), or one snapshot of its table
(--snapshot, a number or "current"). Retention keeps what it names until the
lease expires or is released, within the bounds retention.lease-bytes and
retention.lease-age. NAME has lower-case letters, digits, dots, _ and -.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			s.Name, s.By = args[0], cmp.Or(s.By, whoAmI())
			if err := needQueue(cmd); err != nil {
				return err
			}
			if from != "" {
				if s.From, err = admin.ParseTime(from, time.Now()); err != nil {
					return usageError{fmt.Errorf("--from: %w", err)}
				}
			}
			if cmd.Flags().Changed("offset") {
				s.Positions = []retention.Position{p}
			}
			if s.Current = snapshot == "current"; snapshot != "" && !s.Current {
				if _, err := fmt.Sscan(snapshot, &s.Snapshot); err != nil {
					return usageError{fmt.Errorf("--snapshot %q: want a number or current", snapshot)}
				}
			}
			n := 0
			for _, is := range []bool{from != "", len(s.Positions) > 0, snapshot != ""} {
				if is {
					n++
				}
			}
			if s.Topic == "" || n != 1 {
				return usageError{fmt.Errorf("a lease needs --topic and one of --from, --offset and --snapshot")}
			}
			l, err := client(cmd).SetLease(cmd.Context(), s)
			if err != nil {
				return err
			}
			return showLease(cmd, l, time.Duration(s.TTL))
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.Topic, "topic", "", "topic")
	f.StringVar(&from, "from", "", "time from which on all queues are kept")
	f.Int32Var(&p.Queue, "queue", 0, "queue of --offset")
	f.StringVar(&p.Broker, "broker", "", "broker group of --offset; the server's own where empty")
	f.Int64Var(&p.Offset, "offset", 0, "offset from which on a queue is kept")
	f.StringVar(&snapshot, "snapshot", "", "snapshot of the table that is kept, or current")
	f.TextVar(&s.TTL, "ttl", s.TTL, "`time` that it lasts without a renewal, such as 12h or 30d")
	f.StringVar(&s.Why, "why", "", "what it is for")
	f.StringVar(&s.By, "by", "", "whose it is, where access control doesn't know; the user of this machine where empty")
	return cmd
}

func leaseRenew() *cobra.Command {
	s := admin.LeaseSpec{TTL: units.Duration(24 * time.Hour)}
	p := retention.Position{}
	cmd := &cobra.Command{
		Use: "renew NAME", Short: "Have a lease last longer; may move the offset of a lease of one queue", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.Name = args[0]
			if err := needQueue(cmd); err != nil {
				return err
			}
			if cmd.Flags().Changed("offset") {
				s.Positions = []retention.Position{p}
			}
			l, err := client(cmd).RenewLease(cmd.Context(), s)
			if err != nil {
				return err
			}
			return showLease(cmd, l, time.Duration(s.TTL))
		},
	}
	f := cmd.Flags()
	f.TextVar(&s.TTL, "ttl", s.TTL, "`time` that it lasts from now on without another renewal, such as 12h or 30d")
	f.Int32Var(&p.Queue, "queue", 0, "queue of --offset")
	f.StringVar(&p.Broker, "broker", "", "broker group of --offset; the server's own where empty")
	f.Int64Var(&p.Offset, "offset", 0, "offset from which on the queue is kept now")
	return cmd
}
