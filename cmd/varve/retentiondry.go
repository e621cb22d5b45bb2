package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"varve/internal/admin"
	"varve/internal/retention"
)

// dryRun shows what a pass would do, by the policy in force or a file's.
func dryRun(cmd *cobra.Command, topic, policy string) error {
	d := admin.DryRun{Topic: topic}
	if policy != "" {
		text, err := os.ReadFile(policy)
		if err != nil {
			return usageError{fmt.Errorf("--policy: %w", err)}
		}
		p, err := retention.ParseYAML(text)
		if err != nil {
			return usageError{fmt.Errorf("--policy %s: %w", policy, err)}
		}
		d.Policy = &p
	}
	res, err := client(cmd).DryRun(cmd.Context(), d)
	if err != nil {
		return err
	}
	err = show(cmd, res, func(t *table) {
		explainRows(t, res.Explanations)
		tenantRows(t, res.Tenants)
	})
	return errors.Join(append(unexplained(res.Explanations), err)...)
}

func explainRows(t *table, list []retention.Explanation) {
	t.row("QUEUE", "RULE", "FILES", "GO NOW", "MESSAGES", "BYTES", "NEXT GOES", "KEPT BY", "WHY")
	for _, e := range list {
		if e.Error == "" {
			explainRow(t, e)
		}
	}
}

func unexplained(list []retention.Explanation) (errs []error) {
	for _, e := range list {
		if e.Error != "" {
			errs = append(errs, fmt.Errorf("topic %s: %s", e.Queue.Topic, e.Error))
		}
	}
	return errs
}

func tenantRows(t *table, list []retention.TenantUse) {
	if len(list) == 0 {
		return
	}
	t.row("TENANT", "QUOTA", "USED", "AFTER", "STAYS OVER BY")
	for _, u := range list {
		t.row(u.Tenant, size(int64(u.Limit)), size(u.Used), size(u.After), size(u.Over))
	}
}

func retentionQuota() *cobra.Command {
	cmd := &cobra.Command{Use: "quota", Short: "What tenants may take in the archive: list, set, delete"}
	q := retention.Quota{}
	set := &cobra.Command{
		Use: "set TENANT --bytes 100GiB", Short: "Bound what a tenant takes in the archive; the tenant * is each one without its own",
		Long: `Bound what the files of a tenant's topics take in the archive together. Above
it the oldest files go, over all of its topics, whatever age their rules ask
for; never what a rule keeps for ever (archive: {}), a hold or a lease keeps, and
never the newest file of a queue.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Tenant = args[0]; q.Bytes <= 0 {
				return usageError{fmt.Errorf("a quota needs --bytes")}
			}
			if err := client(cmd).SetStorageQuota(cmd.Context(), q); err != nil {
				return err
			}
			return show(cmd, q, func(t *table) { quotaUse(t, admin.TenantQuota{Quota: q}) })
		},
	}
	set.Flags().TextVar(&q.Bytes, "bytes", retention.Bytes(0), "`size` of the tenant's files in the archive")
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List the quotas, and what is used of them as of the last pass", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := client(cmd).StorageQuotas(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, list, func(t *table) { quotaUse(t, list...) })
		},
	}, set, &cobra.Command{
		Use: "delete TENANT", Short: "Remove a tenant's quota", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client(cmd).DeleteStorageQuota(cmd.Context(), args[0]); err != nil {
				return err
			}
			return show(cmd, map[string]string{"deleted": args[0]}, func(t *table) { t.row("deleted " + args[0]) })
		},
	})
	return cmd
}

func quotaUse(t *table, list ...admin.TenantQuota) {
	t.row("TENANT", "QUOTA", "USED", "STAYS OVER BY")
	for _, q := range list {
		if len(q.Use) == 0 {
			t.row(q.Tenant, size(int64(q.Bytes)), "-", "-")
		}
		for _, u := range q.Use {
			t.row(u.Tenant, size(int64(q.Bytes)), size(u.After), size(u.Over))
		}
	}
}

// keptBy says what keeps the next file of a queue that would go.
func keptBy(e retention.Explanation) string {
	if e.Kept == nil {
		return "-"
	}
	return fmt.Sprintf("%s %s from %d on", e.Kept.By, e.Kept.Name, e.Kept.File.Offsets.From)
}
