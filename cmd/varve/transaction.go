package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/admin"
)

func transactionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "transaction", Short: "Transactions: list those in doubt or given up, end or restore them"}
	cmd.AddCommand(transactionList(), transactionResolve())
	return cmd
}

func transactionList() *cobra.Command {
	var s admin.TransactionSearch
	cmd := &cobra.Command{
		Use: "list", Short: "List the transactions in doubt, oldest first, or those that were given up", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.Max < 0 {
				return usageError{fmt.Errorf("--max: %d is less than 0", s.Max)}
			}
			list, err := client(cmd).Transactions(cmd.Context(), s)
			if err != nil {
				return err
			}
			return show(cmd, list, func(t *table) {
				t.row("ID", "TOPIC", "GROUP", "STORED", "CHECKS", "NEXT", "MESSAGE")
				for _, x := range list {
					next, checks := "-", strconv.Itoa(x.Checks)
					if s.GivenUp { // their questions are not counted any more
						checks = "-"
					}
					if !x.NextCheck.IsZero() {
						next = clock(x.NextCheck)
					}
					t.row(x.ID, x.Topic, x.Group, clock(x.Stored), checks, next, x.MsgID)
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.Topic, "topic", "", "of one topic only")
	f.StringVar(&s.Group, "group", "", "of one producer group only")
	f.BoolVar(&s.GivenUp, "given-up", false, "those that nobody ended and nobody is asked about any more")
	f.IntVar(&s.Max, "max", 0, "at most so many; 32 where 0")
	return cmd
}

func transactionResolve() *cobra.Command {
	return &cobra.Command{
		Use: "resolve ID " + strings.Join(admin.Resolutions, "|"), Short: "End a transaction by hand, or have its producers asked again",
		Long: "End a transaction in its producer's stead: commit delivers its message, rollback drops it. restore has the producers " +
			"of its group asked from the beginning, also about one that was given up. ID is the one of `varve transaction list`.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(admin.Resolutions, args[1]) {
				return usageError{fmt.Errorf("%q is none of %s", args[1], strings.Join(admin.Resolutions, ", "))}
			}
			if err := client(cmd).ResolveTransaction(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			done := map[string]string{"commit": "committed", "rollback": "rolled back", "restore": "restored"}[args[1]]
			return show(cmd, map[string]string{"id": args[0], "done": done}, func(t *table) { t.row(done + " " + args[0]) })
		},
	}
}
