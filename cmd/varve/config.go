package main

import (
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"varve/internal/config"
	"varve/internal/obs"
)

// loadConfig reads the settings as every command that needs them does.
func loadConfig(cmd *cobra.Command) (*config.Loaded, error) {
	path, _ := cmd.Flags().GetString("config")
	environ := make([]string, 0, len(os.Environ()))
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); slices.Contains(clientEnv, name) {
			continue
		}
		environ = append(environ, kv)
	}
	return config.Load(path, environ, cmd.Flags())
}

// loadConfigAndLogger is loadConfig for commands that work as a server does, and
// tell of it as one.
func loadConfigAndLogger(cmd *cobra.Command) (*config.Loaded, *slog.Logger, error) {
	l, err := loadConfig(cmd)
	if err != nil {
		return nil, nil, err
	}
	log, err := obs.NewLogger(cmd.ErrOrStderr(), l.Log.Level, l.Log.Format)
	return l, log, err
}

func configFlags(cmd *cobra.Command) {
	cmd.Flags().StringP("config", "c", config.FileFromEnv(), "YAML file of settings ("+config.EnvFile+")")
	config.Flags(cmd.Flags())
}

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Print the effective settings and where each comes from",
		Long: `Print every setting, its effective value and its source.

Settings come from defaults, then the YAML file, then the environment, then
flags; the later wins. hot.flush is "flush:" under "hot:" in the file,
VARVE_HOT_FLUSH in the environment, and --hot.flush as a flag.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			return show(cmd, l.Values, func(t *table) {
				t.row("KEY", "VALUE", "SOURCE", "MEANING")
				for _, v := range l.Values {
					t.row(v.Key, dash(v.Value), v.Source, v.Help)
				}
			})
		},
	}
	configFlags(cmd)
	return cmd
}
