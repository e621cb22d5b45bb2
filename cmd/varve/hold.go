package main

import (
	"cmp"
	"fmt"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/admin"
	"varve/internal/retention"
)

// whoAmI is noted of holds and leases where access control knows no user.
func whoAmI() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

func holdCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "hold", Short: "Legal holds: what may not go, whatever rules say"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List the holds, those that were released too", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := client(cmd).Holds(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, list, func(t *table) { holdRows(t, list...) })
		},
	}, holdSet(), &cobra.Command{
		Use: "show NAME", Short: "Show a hold, who set and released it, and what it keeps", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := client(cmd).Hold(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return show(cmd, d, func(t *table) {
				holdRows(t, d.History...)
				for _, h := range d.Topics {
					locked := ""
					if d.Lock != nil && d.Lock.State == "on" {
						locked = fmt.Sprintf(", %d of the files locked in the bucket", h.Locked)
					}
					t.row(fmt.Sprintf("keeps of topic %s whole: files %d, messages %d, %s%s", h.Topic, h.Files, h.Messages, size(h.Bytes), locked))
				}
				if d.Lock != nil {
					t.row(d.Lock.String())
				}
			})
		},
	}, holdRelease())
	return cmd
}

// coversNothing reports whether a hold keeps no file, as far as can be told.
func coversNothing(d admin.HoldDetail) bool {
	return !slices.ContainsFunc(d.Topics, func(h admin.HeldTopic) bool { return h.Files > 0 || h.Error != "" })
}

func holdRows(t *table, list ...retention.Hold) {
	t.row("HOLD", "COVERS", "SINCE", "BY", "WHY", "RELEASED", "BY", "WHY")
	for _, h := range list {
		released, by, why := time.Time{}, "-", "-"
		if r := h.Released; r != nil {
			released, by, why = r.At, dash(r.By), r.Why
		}
		t.row(h.Name, holdScope(h), h.Since, dash(h.By), h.Why, released, by, why)
	}
}

func holdScope(h retention.Hold) string {
	var out []string
	for _, part := range [][2]string{{"tenant", h.Tenant}, {"topic", h.Topic}, {"queues", h.Queues}, {"key", strings.Join(h.Keys, " or ")}} {
		if part[1] != "" {
			out = append(out, part[0]+" "+part[1])
		}
	}
	if !h.From.IsZero() {
		out = append(out, "from "+clock(h.From))
	}
	if !h.To.IsZero() {
		out = append(out, "before "+clock(h.To))
	}
	return cmp.Or(strings.Join(out, ", "), "everything")
}

func holdSet() *cobra.Command {
	h := retention.Hold{}
	var from, to string
	cmd := &cobra.Command{
		Use: "set NAME --why REASON", Short: "Put a hold in force",
		Long: `Put a hold in force. It covers the messages for which all of what is given is
true, and everything where nothing is given. No rule, quota, erasure or deletion
of a topic takes what it covers, until it is released. Files go whole, so a file
with one message that is covered stays whole. On S3 with Object Lock the bucket
itself locks the files, until no hold covers them any more. NAME has lower-case
letters, digits, dots, _ and -.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			h.Name, h.By = args[0], cmp.Or(h.By, whoAmI())
			for _, b := range []struct {
				flag, text string
				into       *time.Time
			}{{"--from", from, &h.From}, {"--to", to, &h.To}} {
				if b.text == "" {
					continue
				}
				if *b.into, err = admin.ParseTime(b.text, time.Now()); err != nil {
					return usageError{fmt.Errorf("%s: %w", b.flag, err)}
				}
			}
			if h.Why == "" {
				return usageError{fmt.Errorf("a hold needs --why")}
			}
			set, err := client(cmd).SetHold(cmd.Context(), h)
			if err != nil {
				return err
			}
			return show(cmd, set, func(t *table) {
				holdRows(t, set.Hold)
				if set.Lock.State == "on" {
					t.row("the bucket locks its files from now on; varve hold show " + set.Name + " says how many are locked")
				} else {
					t.row(set.Lock.String())
				}
				if d, err := client(cmd).Hold(cmd.Context(), set.Name); err == nil && coversNothing(d) {
					t.row("it covers no archived message today: look at what it names, if it should")
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&h.Tenant, "tenant", "", "namespace, may have * and ?")
	f.StringVar(&h.Topic, "topic", "", "topic, may have * and ?")
	f.StringVar(&h.Queues, "queues", "", "queue ids and ranges, such as 0,4-7")
	f.StringArrayVar(&h.Keys, "key", nil, "message key; may be given again")
	f.StringVar(&from, "from", "", "stored at or after this time")
	f.StringVar(&to, "to", "", "stored before this time")
	f.StringVar(&h.Why, "why", "", "the reason, such as a case number")
	f.StringVar(&h.By, "by", "", "who sets it, where access control doesn't know; the user of this machine where empty")
	return cmd
}

func holdRelease() *cobra.Command {
	r := retention.Release{}
	cmd := &cobra.Command{
		Use: "release NAME --why REASON", Short: "End a hold; that it was there stays noted", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.Why == "" {
				return usageError{fmt.Errorf("a release needs --why")}
			}
			r.By = cmp.Or(r.By, whoAmI())
			h, err := client(cmd).ReleaseHold(cmd.Context(), args[0], r)
			if err != nil {
				return err
			}
			return show(cmd, h, func(t *table) { holdRows(t, h) })
		},
	}
	cmd.Flags().StringVar(&r.Why, "why", "", "the reason")
	cmd.Flags().StringVar(&r.By, "by", "", "who releases it, where access control doesn't know; the user of this machine where empty")
	return cmd
}
