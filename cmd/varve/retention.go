package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"varve/internal/admin"
	"varve/internal/config"
)

func retentionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "retention", Short: "Rules that say how long history is kept"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List the rules", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rules, err := client(cmd).Rules(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, rules, func(t *table) { ruleRows(t, rules) })
		},
	}, retentionSet(), &cobra.Command{
		Use: "delete NAME", Short: "Delete a rule", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client(cmd).DeleteRule(cmd.Context(), args[0]); err != nil {
				return err
			}
			return show(cmd, map[string]string{"deleted": args[0]}, func(t *table) { t.row("deleted " + args[0]) })
		},
	}, retentionExplain(), retentionGone("apply", "Apply the rules at once and show what went", (*admin.Client).Apply),
		retentionGone("log", "Show what retention has removed, by which rule", (*admin.Client).Removals))
	return cmd
}

func ruleRows(t *table, rules []admin.Rule) {
	t.row("RULE", "TIER", "TENANT", "TOPIC", "QUEUE", "KEEP FOR", "KEEP BYTES")
	for _, r := range rules {
		queue, keep, bytes := "*", "-", "-"
		if r.Queue != nil {
			queue = fmt.Sprint(*r.Queue)
		}
		if r.KeepSeconds > 0 {
			keep = (time.Duration(r.KeepSeconds) * time.Second).String()
		}
		if r.KeepBytes > 0 {
			bytes = size(r.KeepBytes)
		}
		t.row(r.Name, r.Tier, star(r.Tenant), star(r.Topic), queue, keep, bytes)
	}
}

func star(s string) string {
	if s == "" {
		return "*"
	}
	return s
}

func retentionSet() *cobra.Command {
	var (
		r          admin.Rule
		queue      int32
		keep, size string
	)
	cmd := &cobra.Command{
		Use: "set NAME --keep-for 30d", Short: "Make or replace a rule", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Name = args[0]
			if cmd.Flags().Changed("queue") {
				r.Queue = &queue
			}
			d, err := parseAge(keep)
			if err != nil {
				return usageError{fmt.Errorf("--keep-for: %w", err)}
			}
			r.KeepSeconds = int64(d / time.Second)
			if size != "" {
				b, err := config.ParseBytes(size)
				if err != nil {
					return usageError{fmt.Errorf("--keep-bytes: %w", err)}
				}
				r.KeepBytes = int64(b)
			}
			if r.KeepSeconds == 0 && r.KeepBytes == 0 {
				return usageError{fmt.Errorf("a rule needs --keep-for or --keep-bytes")}
			}
			if err := client(cmd).SetRule(cmd.Context(), r); err != nil {
				return err
			}
			return show(cmd, r, func(t *table) { ruleRows(t, []admin.Rule{r}) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Tenant, "tenant", "", "namespace; every one where empty")
	f.StringVar(&r.Topic, "topic", "", "topic, or the start of names with * at the end; every one where empty")
	f.Int32Var(&queue, "queue", 0, "one queue")
	f.StringVar(&r.Tier, "tier", "archive", "archive or hot")
	f.StringVar(&keep, "keep-for", "", "age, such as 36h or 30d")
	f.StringVar(&size, "keep-bytes", "", "size of a queue, such as 10GiB")
	return cmd
}

// parseAge is a duration that may be in whole days.
func parseAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days, "%d", &n); err == nil && fmt.Sprint(n) == days && n > 0 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return 0, fmt.Errorf("%q is no age of a second or more; write 90m, 36h or 30d", s)
	}
	return d, nil
}

func retentionExplain() *cobra.Command {
	return &cobra.Command{
		Use: "explain [TOPIC]", Short: "Say what would go, when, and by which rule; removes nothing", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := client(cmd).Explain(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			return show(cmd, list, func(t *table) {
				t.row("TOPIC", "QUEUE", "RULE", "FILES", "MESSAGES", "BYTES", "NEW MIN", "NEXT", "WHY")
				for _, e := range list {
					t.row(e.Topic, fmt.Sprintf("%s/%d", e.Broker, e.Queue), dash(e.Rule), e.Files, e.Messages, size(e.Bytes), e.NewMin, e.Next, e.Why)
				}
			})
		},
	}
}

func retentionGone(use, short string, call func(*admin.Client, context.Context, string) ([]admin.Removal, error)) *cobra.Command {
	return &cobra.Command{
		Use: use + " [TOPIC]", Short: short, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := call(client(cmd), cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			return show(cmd, list, func(t *table) {
				t.row("AT", "TOPIC", "QUEUE", "RULE", "OFFSETS", "FILES", "MESSAGES", "BYTES")
				for _, r := range list {
					t.row(r.At, r.Topic, fmt.Sprintf("%s/%d", r.Broker, r.Queue), r.Rule, fmt.Sprintf("%d-%d", r.From, r.To), r.Files, r.Messages, size(r.Bytes))
				}
			})
		},
	}
}
