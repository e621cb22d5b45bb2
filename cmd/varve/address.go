package main

import (
	"cmp"
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"

	"varve/internal/config"
)

// serverAddress is the server that a command asks: the one that --server or its
// variable names, else the one that a server on this machine with the same
// configuration is. Who moves the port says so once.
func serverAddress(cmd *cobra.Command) (string, error) {
	server, _ := cmd.Flags().GetString("server")
	if cmd.Flags().Changed("server") || os.Getenv(envServer) != "" {
		return server, nil
	}
	path := config.FileFromEnv()
	if f := cmd.Flags().Lookup("config"); f != nil {
		path = f.Value.String()
	}
	fail := func(err error) (string, error) {
		return "", usageError{fmt.Errorf("which server to ask: %w; --server or %s names it too", err, envServer)}
	}
	listen, err := config.Peek(path, "http.listen")
	if err != nil {
		return fail(err)
	}
	mode, err := config.Peek(path, "tls.mode")
	if err != nil {
		return fail(err)
	}
	host, port, err := net.SplitHostPort(cmp.Or(listen, server))
	switch {
	case err != nil:
		return fail(fmt.Errorf("http.listen: %w", err))
	case port == "0":
		return fail(fmt.Errorf("http.listen is %s, any free port", listen))
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // an unspecified address of either kind is listened on over both
	}
	scheme := ""
	if mode == config.TLSEnforcing {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port), nil
}
