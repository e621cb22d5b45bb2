package main

import "github.com/spf13/cobra"

// workerCommand is what the query engine runs for one query.
func workerCommand() *cobra.Command {
	return &cobra.Command{Use: "worker", Hidden: true, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return nil }}
}
