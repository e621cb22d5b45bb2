package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"varve/internal/demo"
)

func demoCommand() *cobra.Command {
	o := demo.Options{Version: release}
	cmd := &cobra.Command{
		Use: "demo", Short: "Show the main job once, on real input, and check every claim",
		Long: `Start a server on free ports, send messages with the Apache Go client, archive
them, trim the hot log, consume all of them again with an ordinary push
consumer while sends go on, ask SQL, replay a time range through a filter, and
apply a retention rule. Every message is checked by digest; any failure exits
with 1. With --output json the figures come as JSON on standard output.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kind, err := outputKind(cmd)
			if err != nil {
				return err
			}
			o.Out = cmd.OutOrStdout()
			if kind == "json" {
				o.Out = cmd.ErrOrStderr()
			}
			if o.Messages < 1000 {
				return usageError{fmt.Errorf("--messages: %d is too few to show anything; at least 1000", o.Messages)}
			}
			if o.Keep && o.DataDir == "" {
				return usageError{fmt.Errorf("--keep needs --data-dir")}
			}
			f, err := demo.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if kind == "json" {
				return writeJSON(cmd.OutOrStdout(), f)
			}
			f.Print(cmd.OutOrStdout())
			_, err = io.WriteString(cmd.OutOrStdout(), "every claim was checked and holds\n")
			return err
		},
	}
	cmd.Flags().StringVar(&o.DataDir, "data-dir", "", "directory to use, empty or new; a temporary one where not given")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave the data, for a look with any Parquet or Iceberg tool")
	cmd.Flags().IntVar(&o.Messages, "messages", 200_000, "messages to send before the archive is waited for")
	return cmd
}
