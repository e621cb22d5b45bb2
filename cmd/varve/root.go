package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"varve/internal/admin"
	"varve/internal/config"
	"varve/internal/nearest"
)

// envServer names the server to administer where --server doesn't.
const envServer = config.EnvPrefix + "SERVER"

// The user as whom commands ask a server: by name and password, or by a file
// that has both with a colon between them.
const (
	envUser        = config.EnvPrefix + "USER"
	envPassword    = config.EnvPrefix + "PASSWORD"
	envCredentials = config.EnvPrefix + "CREDENTIALS"
)

// clientEnv is every variable that is about commands and not a setting.
var clientEnv = []string{envServer, envUser, envPassword, envCredentials}

// newRoot builds the command tree. Each command has its file.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "varve",
		Short: "A RocketMQ-compatible message broker that remembers",
		Long: `Varve takes messages from unmodified RocketMQ clients, keeps every queue as
Parquet in an Iceberg table on object storage, serves the old part of every
queue to the same clients, answers SQL over all of it, and replays any stretch.

Start with "varve server", or see everything happen once with "varve demo".`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			_, err := outputKind(cmd)
			return err
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	server := os.Getenv(envServer)
	if server == "" {
		server = config.Default().HTTP.Listen
	}
	root.PersistentFlags().String("server", server, "HTTP address of the server to administer ("+envServer+", else http.listen as the environment or the file of "+config.EnvFile+" has it)")
	root.PersistentFlags().String("credentials", os.Getenv(envCredentials),
		"file with USER:PASSWORD for a server with access control ("+envCredentials+"; or "+envUser+" and "+envPassword+")")
	root.PersistentFlags().Bool("tls-unverified", false, "take any certificate of an https server")
	root.PersistentFlags().StringP("output", "o", "table", "table or json; sql also csv")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		serverCommand(), demoCommand(), configCommand(), statusCommand(), topicCommand(), groupCommand(),
		dlqCommand(), messageCommand(), timerCommand(), transactionCommand(),
		sqlCommand(), replayCommand(), retentionCommand(), holdCommand(), leaseCommand(), archiveCommand(),
		userCommand(), aclCommand(), quotaCommand(), schemaCommand(), versionCommand(), workerCommand(),
	)
	root.SetHelpCommand(helpCommand())
	strict(root)
	root.Flags().Bool("version", false, "print the version")
	group := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if asked, _ := cmd.Flags().GetBool("version"); asked && len(args) == 0 {
			return showVersion(cmd)
		}
		return group(cmd, args)
	}
	return root
}

// helpCommand is cobra's, but that a command that isn't there is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			of := cmd.Root()
			for _, word := range args {
				next, _, err := of.Find([]string{word})
				if err != nil || next == of {
					return unknownCommand(of, word)
				}
				of = next
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}

// unknownCommand says what may have been meant.
func unknownCommand(of *cobra.Command, word string) error {
	msg := fmt.Sprintf("unknown command %q for %q", word, of.CommandPath())
	if near := of.SuggestionsFor(word); len(near) > 0 {
		msg += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{errors.New(msg)}
}

// letters are what the name of a flag begins with.
const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// flagError suggests a flag that is near to an unknown one, and what to do with
// an argument that is none.
func flagError(cmd *cobra.Command, err error) error {
	if said := badNumber(err); said != nil {
		return usageError{said}
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usageError{err}
	}
	if name := unknown.GetSpecifiedName(); strings.ContainsAny(name, " \t\n") || !strings.ContainsAny(name[:min(1, len(name))], letters) {
		return usageError{fmt.Errorf("%w; an argument that begins with a dash stands behind a --, such as %s -- '-…'", err, cmd.CommandPath())}
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := nearest.Word(unknown.GetSpecifiedName(), known); near != "" {
		err = fmt.Errorf("%w; did you mean --%s?", err, near)
	}
	return usageError{err}
}

// badNumber says what a flag wants in the place of what the parser of numbers
// says, nil where the error is another.
func badNumber(err error) error {
	var (
		value  *pflag.InvalidValueError
		number *strconv.NumError
	)
	if !errors.As(err, &value) || !errors.As(err, &number) {
		return nil
	}
	want := "a whole number"
	switch {
	case value.GetFlag().Value.Type() == "bool":
		want = "true or false"
	case errors.Is(number, strconv.ErrRange):
		want = "a number nearer to 0"
	}
	return fmt.Errorf("--%s %q: want %s", value.GetFlag().Name, value.GetValue(), want)
}

// strict makes every wrong argument a usage error, and a group of commands
// called with an unknown one say so.
func strict(cmd *cobra.Command) {
	if cmd.HasSubCommands() && cmd.RunE == nil {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return unknownCommand(c, args[0])
		}
		cmd.SuggestionsMinimumDistance = 2
	} else if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{fmt.Errorf("%w; usage: %s", err, c.UseLine())}
			}
			if len(args) > 0 && args[0] == "" {
				return usageError{fmt.Errorf("%s is empty; usage: %s", strings.Trim(strings.Fields(c.Use)[1], "[]"), c.UseLine())}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
}

func client(cmd *cobra.Command) *admin.Client {
	server, err := serverAddress(cmd)
	c := admin.NewClient(server)
	if err != nil {
		return c.Broken(err)
	}
	if any, _ := cmd.Flags().GetBool("tls-unverified"); any {
		c.Unverified()
	}
	name, _ := cmd.Flags().GetString("credentials")
	if name == "" {
		return c.As(os.Getenv(envUser), os.Getenv(envPassword))
	}
	text, err := os.ReadFile(name)
	user, password, found := strings.Cut(strings.TrimSpace(string(text)), ":")
	if err == nil && !found {
		err = fmt.Errorf("%s is not USER:PASSWORD", name)
	}
	if err != nil {
		return c.Broken(usageError{fmt.Errorf("--credentials: %w", err)})
	}
	return c.As(user, password)
}
