package main

import (
	"errors"
	"fmt"
	"strconv"

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
			given := false
			for _, l := range []struct {
				flag string
				text *string
				into *int64
			}{
				{"send-messages", nil, &q.SendMessages},
				{"send-bytes", &sent, &q.SendBytes},
				{"read-messages", nil, &q.ReadMessages},
				{"read-bytes", &read, &q.ReadBytes},
				{"connections", nil, &q.Connections},
			} {
				given = given || cmd.Flags().Changed(l.flag)
				if l.text != nil && *l.text != "" {
					n, err := units.ParseBytes(*l.text)
					if err != nil {
						return usageError{fmt.Errorf("--%s: %w", l.flag, err)}
					}
					*l.into = int64(n)
				}
				if *l.into < 0 {
					return usageError{fmt.Errorf("--%s: %d is less than 0; 0 is no limit", l.flag, *l.into)}
				}
			}
			if !given {
				return usageError{errors.New("no limit is given; a tenant that none holds for, those of * neither, has --send-messages 0")}
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
	f.Int64Var(&q.Connections, "connections", 0, "connections at once, over every protocol, that use its topics or groups; no limit where 0")
	return cmd
}

func quotaRows(t *table, quotas ...admin.Quota) {
	limit := func(n int64, as func(int64) string) string {
		if n == 0 {
			return "-"
		}
		return as(n)
	}
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	t.row("TENANT", "SENDS/S", "SENT/S", "READS/S", "READ/S", "CONNECTIONS")
	for _, q := range quotas {
		t.row(q.Tenant, limit(q.SendMessages, count), limit(q.SendBytes, size), limit(q.ReadMessages, count), limit(q.ReadBytes, size), limit(q.Connections, count))
	}
}
