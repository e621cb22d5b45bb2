package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/admin"
	"varve/internal/retention"
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
	}, retentionExplain(), retentionApply(), retentionQuota(), &cobra.Command{
		Use: "log [TOPIC]", Short: "Show what retention has removed, by which rule", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			gone, err := client(cmd).Removals(cmd.Context(), strings.Join(args, ""))
			return showRemovals(cmd, gone, err)
		},
	})
	return cmd
}

func retentionApply() *cobra.Command {
	dry, policy := false, ""
	cmd := &cobra.Command{
		Use: "apply", Short: "Apply the rules at once and show what went", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry {
				return dryRun(cmd, "", policy)
			}
			if policy != "" {
				return usageError{fmt.Errorf("--policy goes with --dry-run: what is applied is the policy in force")}
			}
			gone, err := client(cmd).Apply(cmd.Context())
			return showRemovals(cmd, gone, err)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would go, and remove nothing")
	cmd.Flags().StringVar(&policy, "policy", "", "with --dry-run: by the rules of this file (YAML or JSON) instead of those in force")
	return cmd
}

func ruleRows(t *table, rules []retention.Rule) {
	t.row("RULE", "TENANT", "TOPIC", "QUEUES", "ARCHIVE KEEPS", "HOT KEEPS")
	for _, r := range rules {
		archive, hot := "-", "-"
		if r.Archive != nil {
			archive = bounds(r.Archive.Age, r.Archive.Bytes, r.Archive.Messages)
		}
		if r.Hot != nil {
			hot = bounds(r.Hot.Age, r.Hot.Bytes, 0)
			if r.Hot.DropUnarchived {
				hot += ", drops unarchived"
			}
		}
		t.row(r.Name, star(r.Tenant), star(r.Topic), star(r.Queues), archive, hot)
	}
}

func bounds(age retention.Duration, bytes retention.Bytes, messages int64) string {
	var out []string
	if age > 0 {
		out = append(out, age.String())
	}
	if bytes > 0 {
		out = append(out, bytes.String())
	}
	if messages > 0 {
		out = append(out, fmt.Sprintf("%d messages", messages))
	}
	if out == nil {
		return "all"
	}
	return strings.Join(out, " or ")
}

func star(s string) string {
	if s == "" {
		return "*"
	}
	return s
}

func retentionSet() *cobra.Command {
	var (
		r       retention.Rule
		archive retention.ArchiveBounds
		hot     retention.HotBounds
	)
	cmd := &cobra.Command{
		Use: "set NAME --keep-for 30d", Short: "Make or replace a rule",
		Long: `Make or replace a rule. For a queue the most specific rule decides alone;
without one all is kept. Ages and sizes say what is kept at least: whole files
go, so the last piece goes a little later.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.Name = args[0]; r.Name == "" {
				return usageError{fmt.Errorf("a rule needs a name")}
			}
			for _, name := range []string{"keep-for", "keep-bytes", "hot-keep-for", "hot-keep-bytes"} {
				if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == f.DefValue {
					return usageError{fmt.Errorf("--%s: 0 is no bound; a rule says what is kept at least, such as 1h or 1GiB, and what isn't given has no bound", name)}
				}
			}
			if archive != (retention.ArchiveBounds{}) {
				r.Archive = &archive
			}
			if hot != (retention.HotBounds{}) {
				r.Hot = &hot
			}
			if r.Archive == nil && r.Hot == nil {
				return usageError{fmt.Errorf("a rule needs --keep-for, --keep-bytes or --keep-messages, or one of the --hot flags")}
			}
			if err := client(cmd).SetRule(cmd.Context(), r); err != nil {
				return err
			}
			return show(cmd, r, func(t *table) { ruleRows(t, []retention.Rule{r}) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Tenant, "tenant", "", "namespace, may have * and ?; every one where empty")
	f.StringVar(&r.Topic, "topic", "", "topic, may have * and ?; every one where empty")
	f.StringVar(&r.Queues, "queues", "", "queue ids and ranges, such as 0,4-7; every one where empty")
	f.TextVar(&archive.Age, "keep-for", retention.Duration(0), "`age` kept in the archive, such as 36h or 90d")
	f.TextVar(&archive.Bytes, "keep-bytes", retention.Bytes(0), "`size` of a queue kept in the archive, such as 10GiB")
	f.Int64Var(&archive.Messages, "keep-messages", 0, "messages of a queue kept in the archive")
	f.TextVar(&hot.Age, "hot-keep-for", retention.Duration(0), "`age` kept in the hot log")
	f.TextVar(&hot.Bytes, "hot-keep-bytes", retention.Bytes(0), "`size` of the hot log; only for a rule that covers everything")
	f.BoolVar(&hot.DropUnarchived, "hot-drop-unarchived", false, "let the hot log drop messages that the archive does not have: loses them")
	return cmd
}

func retentionExplain() *cobra.Command {
	policy := ""
	cmd := &cobra.Command{
		Use: "explain [TOPIC]", Short: "Say what would go, when, by which rule, and what keeps it; removes nothing", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if policy != "" {
				return dryRun(cmd, strings.Join(args, ""), policy)
			}
			list, err := client(cmd).Explain(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			err = show(cmd, list, func(t *table) { explainRows(t, list) })
			return errors.Join(append(unexplained(list), err)...)
		},
	}
	cmd.Flags().StringVar(&policy, "policy", "", "by the rules of this file (YAML or JSON) instead of those in force")
	return cmd
}

func explainRow(t *table, e retention.Explanation) {
	var rows, bytes int64
	for _, r := range e.Removals {
		rows, bytes = rows+r.File.Rows, bytes+r.File.Bytes
	}
	why := "no rule: all is kept"
	if e.Archive.Rule != "" {
		why = e.Archive.Candidates[0].Why + ", keeps " + bounds(e.Archive.Age, e.Archive.Bytes, e.Archive.Messages)
	}
	t.row(e.Queue.String(), dash(e.Archive.Rule), e.Files, len(e.Removals), rows, size(bytes), e.NextAt, keptBy(e), why)
}

func showRemovals(cmd *cobra.Command, list []admin.Removal, err error) error {
	if err != nil {
		return err
	}
	var unread []error
	err = show(cmd, list, func(t *table) {
		t.row("AT", "TOPIC", "QUEUE", "RULE", "CAUSE", "OFFSETS", "FILES", "MESSAGES", "BYTES")
		for _, r := range list {
			if r.Error != "" {
				continue
			}
			t.row(r.At, r.Topic, fmt.Sprintf("%s/%d", r.Broker, r.Queue), r.Rule, r.Cause, fmt.Sprintf("%d-%d", r.From, r.To), r.Files, r.Messages, size(r.Bytes))
		}
	})
	for _, r := range list {
		if r.Error != "" {
			unread = append(unread, fmt.Errorf("topic %s: %s", r.Topic, r.Error))
		}
	}
	return errors.Join(append(unread, err)...)
}
