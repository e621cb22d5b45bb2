package main

import (
	"strings"

	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show what a server is doing", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := client(cmd).Status(cmd.Context())
			if err != nil {
				return err
			}
			return show(cmd, s, func(t *table) {
				ready := "yes"
				if !s.Ready {
					ready = "no: " + s.Reason
				}
				t.row("ready", ready)
				t.row("version", s.Version)
				t.row("broker", s.Broker+" in "+s.Cluster)
				t.row("roles", strings.Join(s.Roles, " "))
				t.row("data", s.DataDir)
				t.row("started", s.Started)
				t.row("hot log", size(s.HotBytes))
				t.row("log from, archived, confirmed", s.HotStart, s.Archived, s.Confirmed)
				for _, role := range []string{"route", "broker", "history", "http"} {
					if a := s.Listen[role]; a != "" {
						t.row(role, a)
					}
				}
			})
		},
	}
}
