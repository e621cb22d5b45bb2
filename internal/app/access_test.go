package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/internal/auth"
	wire "varve/internal/remoting"
)

// signer signs requests as a user.
func signer(user, secret string) func(*wire.Command) {
	return func(req *wire.Command) {
		req.Ext.Set(auth.FieldAccessKey, user)
		req.Ext.Set(auth.FieldSignature, auth.SignRemoting(req.Ext.Raw(), req.Body, secret))
	}
}

// One setting turns access control on: a super user is there, whose password
// is in a file that only the owner reads and in no log; every port asks for
// it; and it is the same after a restart.
func TestAccessControlByOneSetting(t *testing.T) {
	c := settings(t)
	c.Auth.Enabled = true
	var password string
	for start := range 2 {
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		n, err := Open(ctx, c, Options{Version: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		name := filepath.Join(c.DataDir, "admin-credentials")
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		user, secret, _ := strings.Cut(strings.TrimSpace(string(text)), ":")
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 || user != "admin" || start > 0 && secret != password {
			t.Errorf("credentials of %q with mode %v, %v", user, st.Mode(), err)
		}
		password = secret
		for _, port := range []string{"route", "broker", "history"} {
			for signed, want := range map[bool]int{true: 0, false: wire.NoPermission} {
				conf := wire.ClientConfig{}
				if signed {
					conf.Sign = signer(user, secret)
				}
				cl := wire.NewClient(n.Addr(port), conf)
				req := wire.NewRequest(wire.Heartbeat)
				req.Body = []byte(`{"clientID":"c","consumerDataSet":[],"producerDataSet":[]}`)
				if port == "route" {
					req = wire.NewRequest(wire.GetAllTopicListFromNS)
				}
				if r, err := cl.Call(t.Context(), req); err != nil || r.Code != want {
					t.Errorf("%s, signed %v: %v, %v, want code %d", port, signed, r, err, want)
				}
				_ = cl.Close()
			}
		}
		if got := metric(t, n, `varve_auth_unauthenticated_total{protocol="remoting"}`); got != "3" {
			t.Errorf("%s requests over remoting are counted as not signed, want 3", got)
		}
		if got := metric(t, n, `varve_auth_denied_total{protocol="http"}`); got != "0" {
			t.Errorf("%s requests over HTTP are counted as denied", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if strings.Contains(log.String(), secret) || strings.Contains(log.String(), "ACCESS CONTROL IS OFF") {
			t.Errorf("log:\n%s", log.String())
		}
	}
}

// metric is a figure of a node as it is scraped.
func metric(t *testing.T, n *Node, name string) string {
	t.Helper()
	resp, err := http.Get("http://" + n.Addr("http") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no metric %s in\n%s", name, text)
	return ""
}

func TestLoudWhereAccessControlIsOff(t *testing.T) {
	var log bytes.Buffer
	n, err := Open(t.Context(), settings(t), Options{Version: "test", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	n.closeAll()
	if strings.Count(log.String(), "ACCESS CONTROL IS OFF") != 1 {
		t.Errorf("log:\n%s", log.String())
	}
}
