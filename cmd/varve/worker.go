package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"varve/query/worker"
)

// workerCommand is what the query engine runs for one query.
func workerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "worker", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if code := worker.Main(cmd.InOrStdin(), cmd.OutOrStdout()); code != 0 {
				return fmt.Errorf("query worker ended with %d", code)
			}
			return nil
		},
	}
}
