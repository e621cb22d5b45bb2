package main

import (
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/auth"
)

func aclCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "acl", Short: "Policies of access control: list, allow, deny, remove"}
	var user, resource string
	list := &cobra.Command{
		Use: "list", Short: "List the policies", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			acls, err := client(cmd).ACLs(cmd.Context(), user, resource)
			if err != nil {
				return err
			}
			return show(cmd, acls, func(t *table) { aclRows(t, acls) })
		},
	}
	list.Flags().StringVar(&user, "user", "", "only users whose name contains this")
	list.Flags().StringVar(&resource, "resource", "", "only resources that contain this")
	cmd.AddCommand(list, aclPut("allow", "Let a user do something", auth.Allow), aclPut("deny", "Keep a user from something", auth.Deny), aclRemove())
	return cmd
}

func aclRows(t *table, acls []auth.ACL) {
	t.row("SUBJECT", "POLICY", "RESOURCE", "ACTIONS", "FROM", "DECISION")
	for _, a := range acls {
		for _, p := range a.Policies {
			for _, e := range p.Entries {
				t.row(a.Subject, p.Type, e.Resource, strings.Join(e.Actions, ","), star(strings.Join(e.SourceIPs, ",")), e.Decision)
			}
		}
	}
}

func aclPut(verb, short, decision string) *cobra.Command {
	e := auth.Entry{Decision: decision}
	kind := ""
	cmd := &cobra.Command{
		Use: verb + " USER RESOURCE", Short: short + "; RESOURCE is Topic:NAME, Group:NAME, Namespace:NAME, Cluster:NAME or *, with * at the end for a prefix", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			e.Resource = args[1]
			a := auth.ACL{Subject: auth.Subject(args[0]), Policies: []auth.Policy{{Type: kind, Entries: []auth.Entry{e}}}}
			if err := client(cmd).PutACL(cmd.Context(), a); err != nil {
				return err
			}
			acls, err := client(cmd).ACLs(cmd.Context(), a.Subject, "")
			if err != nil {
				return err
			}
			return show(cmd, acls, func(t *table) { aclRows(t, acls) })
		},
	}
	cmd.Flags().StringSliceVar(&e.Actions, "actions", []string{"All"}, "Pub, Sub, Create, Update, Delete, Get, List or All")
	cmd.Flags().StringSliceVar(&e.SourceIPs, "from", nil, "addresses and ranges such as 10.0.0.0/8; everywhere where none is given")
	cmd.Flags().StringVar(&kind, "policy", auth.Custom, "Custom, or Default: counts where no Custom entry matches")
	return cmd
}

func aclRemove() *cobra.Command {
	kind := ""
	cmd := &cobra.Command{
		Use: "remove USER [RESOURCE]", Short: "Remove a user's entry for a resource, or all its policies", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			resource := strings.Join(args[1:], "")
			if err := client(cmd).DeleteACL(cmd.Context(), args[0], kind, resource); err != nil {
				return err
			}
			return show(cmd, map[string]string{"removed": args[0]}, func(t *table) { t.row("removed " + strings.Join(args, " ")) })
		},
	}
	cmd.Flags().StringVar(&kind, "policy", auth.Custom, "Custom or Default")
	return cmd
}
