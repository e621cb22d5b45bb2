package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/internal/config"
)

// TestServerAddress: commands ask the server that the configuration describes,
// unless they are told another.
func TestServerAddress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "varve.yaml")
	if err := os.WriteFile(file, []byte("http:\n  listen: 0.0.0.0:9082\nunknown: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
		want string
		err  string
	}{
		"default":      {want: "127.0.0.1:8082"},
		"environment":  {env: map[string]string{"VARVE_HTTP_LISTEN": "10.1.2.3:9000"}, want: "10.1.2.3:9000"},
		"every":        {env: map[string]string{"VARVE_HTTP_LISTEN": ":9000"}, want: "127.0.0.1:9000"},
		"every, v6":    {env: map[string]string{"VARVE_HTTP_LISTEN": "[::]:9000"}, want: "127.0.0.1:9000"},
		"one, v6":      {env: map[string]string{"VARVE_HTTP_LISTEN": "[::1]:9000"}, want: "[::1]:9000"},
		"TLS alone":    {env: map[string]string{"VARVE_HTTP_LISTEN": "h:9000", "VARVE_TLS_MODE": "enforcing"}, want: "https://h:9000"},
		"file":         {env: map[string]string{config.EnvFile: file}, want: "127.0.0.1:9082"},
		"before file":  {env: map[string]string{config.EnvFile: file, "VARVE_HTTP_LISTEN": "h:1"}, want: "h:1"},
		"named":        {env: map[string]string{"VARVE_HTTP_LISTEN": "h:1", envServer: "s:2"}, want: "s:2"},
		"flag":         {env: map[string]string{"VARVE_HTTP_LISTEN": "h:1", envServer: "s:2"}, args: []string{"--server", "f:3"}, want: "f:3"},
		"flag, broken": {env: map[string]string{config.EnvFile: file + "x"}, args: []string{"--server", "f:3"}, want: "f:3"},
		"no file":      {env: map[string]string{config.EnvFile: file + "x"}, err: "varve.yamlx"},
		"any port":     {env: map[string]string{"VARVE_HTTP_LISTEN": "127.0.0.1:0"}, err: "any free port"},
		"no port":      {env: map[string]string{"VARVE_HTTP_LISTEN": "nine"}, err: "http.listen"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{envServer, config.EnvFile, "VARVE_HTTP_LISTEN", "VARVE_TLS_MODE"} {
				t.Setenv(v, c.env[v])
			}
			cmd, _, err := newRoot().Find([]string{"status"})
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.ParseFlags(c.args); err != nil {
				t.Fatal(err)
			}
			got, err := serverAddress(cmd)
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v; want %q %s", got, err, c.want, c.err)
			}
			if err != nil && exitCode(err) != exitUsage {
				t.Errorf("exit code %d", exitCode(err))
			}
		})
	}
}
