package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/auth"
)

func userCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Users of access control: list, create, set, delete"}
	var filter string
	list := &cobra.Command{
		Use: "list", Short: "List the users", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			users, err := client(cmd).Users(cmd.Context(), filter)
			if err != nil {
				return err
			}
			return show(cmd, users, func(t *table) { userRows(t, users...) })
		},
	}
	list.Flags().StringVar(&filter, "filter", "", "only names that contain this")
	cmd.AddCommand(list, userCreate(), userSet(), &cobra.Command{
		Use: "delete USER", Short: "Delete a user and its policies", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client(cmd).DeleteUser(cmd.Context(), args[0]); err != nil {
				return err
			}
			return show(cmd, map[string]string{"deleted": args[0]}, func(t *table) { t.row("deleted " + args[0]) })
		},
	})
	return cmd
}

func userRows(t *table, users ...auth.User) {
	t.row("USER", "TYPE", "STATUS")
	for _, u := range users {
		t.row(u.Name, u.Type, u.Status)
	}
}

func userCreate() *cobra.Command {
	var super, fromStdin bool
	cmd := &cobra.Command{
		Use: "create USER", Short: "Make a user; without --password-stdin its password is made too, and printed this once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			u := auth.User{Name: args[0], Type: auth.Normal, Password: auth.NewPassword()}
			if super {
				u.Type = auth.Super
			}
			if fromStdin {
				var err error
				if u.Password, err = readPassword(cmd.InOrStdin()); err != nil {
					return err
				}
			}
			made, err := client(cmd).CreateUser(cmd.Context(), u)
			if err != nil {
				return err
			}
			if !fromStdin {
				made.Password = u.Password
			}
			return show(cmd, made, func(t *table) {
				userRows(t, made)
				if made.Password != "" {
					t.row("password " + made.Password)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&super, "super", false, "a super user, who may do everything")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

func userSet() *cobra.Command {
	var typ, status string
	var fromStdin bool
	cmd := &cobra.Command{
		Use: "set USER", Short: "Change a user's type, status or password", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			u := auth.User{Name: args[0], Type: typ, Status: status}
			if fromStdin {
				var err error
				if u.Password, err = readPassword(cmd.InOrStdin()); err != nil {
					return err
				}
			}
			if u == (auth.User{Name: args[0]}) {
				return usageError{errors.New("nothing to change: give --type, --status or --password-stdin")}
			}
			made, err := client(cmd).UpdateUser(cmd.Context(), u)
			if err != nil {
				return err
			}
			return show(cmd, made, func(t *table) { userRows(t, made) })
		},
	}
	cmd.Flags().StringVar(&typ, "type", "", "Super or Normal")
	cmd.Flags().StringVar(&status, "status", "", "enable or disable")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read a new password from standard input")
	return cmd
}

// readPassword reads one line.
func readPassword(r io.Reader) (string, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", usageError{fmt.Errorf("no password on standard input (%w)", err)}
	}
	return line, nil
}
