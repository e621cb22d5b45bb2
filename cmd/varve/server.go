package main

import (
	"fmt"
	"io"
	"net"

	"github.com/spf13/cobra"

	"varve/internal/app"
)

func serverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "server", Short: "Run the server with its roles until it is told to stop",
		Long: `Run route (name server), broker, connector and history in one process, or
some of them with --roles. Every setting of "varve config" is a flag here too.

An interrupt or SIGTERM stops the server within seconds; nothing acked is lost.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, log, err := loadConfigAndLogger(cmd)
			if err != nil {
				return err
			}
			node, err := app.Open(cmd.Context(), &l.Config, app.Options{Logger: log, Version: release})
			if err != nil {
				return err
			}
			welcome(cmd.OutOrStdout(), node, l.DataDir)
			return node.Run(cmd.Context())
		},
	}
	configFlags(cmd)
	return cmd
}

// welcome says where everything is and what to try next.
func welcome(w io.Writer, n *app.Node, dataDir string) {
	fmt.Fprintf(w, "varve %s, data in %s\n", release, dataDir)
	for _, p := range []struct{ port, what string }{
		{"route", "name server"}, {"broker", "broker"}, {"grpc", "gRPC"}, {"mqhttp", "MQ over HTTP"}, {"history", "history"}, {"http", "HTTP"},
	} {
		if a := n.Addr(p.port); a != "" {
			fmt.Fprintf(w, "  %-12s %s\n", p.what, a)
		}
	}
	http := n.Addr("http")
	server := ""
	if _, port, err := net.SplitHostPort(http); err == nil && port != "8082" {
		server = " --server " + http
	}
	if n.Addr("broker") != "" {
		fmt.Fprintf(w, `try, in another terminal:
  bin/varve message send orders '{"item":"lamp","amount":12.5}' --tag paid --key order-1%[1]s
  bin/varve sql "select tag, count(*) from orders group by 1"%[1]s
  bin/varve topic show orders%[1]s
`, server)
	}
	if a := n.Addr("grpc"); a != "" {
		fmt.Fprintf(w, "RocketMQ 5 gRPC clients: endpoint %s, with TLS or without\n", a)
	}
	if a := n.Addr("mqhttp"); a != "" {
		fmt.Fprintf(w, "aliyunmq HTTP SDKs: endpoint http://%s\n", a)
	}
	if a := n.Addr("route"); a != "" {
		fmt.Fprintf(w, "RocketMQ clients: name server address %s\n", a)
	}
	fmt.Fprintf(w, "metrics: http://%s/metrics\nready; Ctrl-C stops\n", http)
}
