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

// makeUsers makes them with RocketMQ's own tool, as its super user.
func makeUsers(ctx context.Context, c config, s *server.Server) error {
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
	for _, u := range accessUsers {
		commands := [][]string{{"createUser", "-b", server.BrokerAddr, "-u", u.name, "-p", u.name + "-secret-1", "-t", "Normal"}}
		if u.resources != "" {
			commands = append(commands, []string{"createAcl", "-b", server.BrokerAddr, "-s", "User:" + u.name, "-r", u.resources, "-a", u.actions, "-d", "Allow"})
		}
		for _, words := range commands {
			out, err := r.command(ctx, append(words, "-n", server.RouteAddr)...)
			if err != nil {
				return err
			}
			if !strings.Contains(string(out), "success") {
				return fmt.Errorf("mqadmin %s of user %s: %s", words[0], u.name, tail(out))
			}
		}
	}
	return nil
}
