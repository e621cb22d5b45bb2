package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"varve/e2e/server"
)

// accessUsers are who the scenarios of access control sign as; each one's
// password is its name with "-secret-1".
var accessUsers = []struct{ name, resources, actions string }{
	{"app", "Topic:acl*,Group:*", "Pub,Sub,Get"},
	{"reader", "Topic:acl*,Group:*", "Sub,Get"},
	{"writer", "Topic:acl*,Group:*", "Pub"},
	{"nobody", "", ""},
}

// makeUsers makes them with RocketMQ's own tool.
func makeUsers(ctx context.Context, c config, s *server.Server) error {
	var commands [][]string
	for _, u := range accessUsers {
		commands = append(commands, []string{"createUser", "-b", server.BrokerAddr, "-u", u.name, "-p", u.name + "-secret-1", "-t", "Normal"})
		if u.resources != "" {
			commands = append(commands, []string{"createAcl", "-b", server.BrokerAddr, "-s", "User:" + u.name, "-r", u.resources, "-a", u.actions, "-d", "Allow"})
		}
	}
	return asRoot(ctx, c, s, commands...)
}

// asRoot runs commands of RocketMQ's own tool as a server's super user.
func asRoot(ctx context.Context, c config, s *server.Server, commands ...[]string) error {
	home := filepath.Join(s.Dir, "tool")
	if err := os.MkdirAll(filepath.Join(home, "conf"), 0o755); err != nil {
		return fmt.Errorf("making the tool's folder: %w", err)
	}
	who := fmt.Sprintf("accessKey: %s\nsecretKey: %s\n", server.RootUser, server.RootSecret)
	if err := os.WriteFile(filepath.Join(home, "conf", "tools.yml"), []byte(who), 0o600); err != nil {
		return fmt.Errorf("writing the tool's user: %w", err)
	}
	r := &adminRun{cfg: c, server: s, names: map[string]string{"dir": home}, home: home}
	defer r.endTool()
	for _, words := range commands {
		out, err := r.command(ctx, append(words, "-n", s.Addrs.Route)...)
		if err != nil {
			return err
		}
		if !strings.Contains(string(out), "success") {
			return fmt.Errorf("mqadmin %s: %s", strings.Join(words, " "), tail(out))
		}
	}
	return nil
}
