package main

import (
	"github.com/spf13/cobra"

	"varve/internal/admin"
	"varve/internal/units"
)

func quotaCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "quota", Short: "What tenants may send, read and connect: list, set, delete"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List the tenants' limits", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			quotas, err := client(cmd).Quotas(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, quotas, func(t *table) { quotaRows(t, quotas...) })
		},
	}, quotaSet(), &cobra.Command{
		Use: "delete TENANT", Short: "Remove a tenant's limits", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client(cmd).DeleteQuota(cmd.Context(), args[0]); err != nil {
				return err
			}
			return show(cmd, map[string]string{"deleted": args[0]}, func(t *table) { t.row("deleted " + args[0]) })
		},
	})
	return cmd
}

func quotaSet() *cobra.Command {
	q := admin.Quota{}
	var sent, read string
	cmd := &cobra.Command{
		Use: "set TENANT", Short: "Set all limits of a tenant; what isn't given is unlimited, and the tenant * is every one without its own", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Tenant = args[0]
			for _, b := range []struct {
				text string
				into *int64
			}{{sent, &q.SendBytes}, {read, &q.ReadBytes}} {
				if b.text == "" {
					continue
				}
				n, err := units.ParseBytes(b.text)
				if err != nil {
					return usageError{err}
				}
				*b.into = int64(n)
			}
			if err := client(cmd).SetQuota(cmd.Context(), q); err != nil {
				return err
			}
			return show(cmd, q, func(t *table) { quotaRows(t, q) })
		},
	}
	f := cmd.Flags()
	f.Int64Var(&q.SendMessages, "send-messages", 0, "messages sent a second; no limit where 0")
	f.StringVar(&sent, "send-bytes", "", "bytes sent a second, such as 10MiB")
	f.Int64Var(&q.ReadMessages, "read-messages", 0, "messages read a second; no limit where 0")
	f.StringVar(&read, "read-bytes", "", "bytes read a second, such as 10MiB")
	f.Int64Var(&q.Connections, "connections", 0, "clients at once, as they say by heartbeat; no limit where 0")
	return cmd
}

func quotaRows(t *table, quotas ...admin.Quota) {
	t.row("TENANT", "SENDS/S", "SENT/S", "READS/S", "READ/S", "CONNECTIONS")
	for _, q := range quotas {
		t.row(q.Tenant, q.SendMessages, size(q.SendBytes), q.ReadMessages, size(q.ReadBytes), q.Connections)
	}
}
