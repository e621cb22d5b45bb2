package app

import (
	"bytes"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"

	wire "varve/internal/remoting"
)

// TestVIPPort has a client of the port two below the broker's served, and a
// node started where that port is taken.
func TestVIPPort(t *testing.T) {
	c := settings(t)
	c.Broker.Listen = freePort(t)
	n, _, stop := run(t, c)
	if n.ports.vip == nil {
		t.Skip("the port below the free one is taken")
	}
	client := wire.NewClient(n.ports.vip.Addr().String(), wire.ClientConfig{})
	defer client.Close()
	r, err := client.Call(t.Context(), wire.NewRequest(wire.GetBrokerConfig))
	if err != nil || r.Code != wire.Success {
		t.Fatalf("request to the VIP port: %+v, %v", r, err)
	}
	vip := n.ports.vip.Addr().String()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", vip)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	n, api, _ := run(t, c)
	if n.ports.vip != nil {
		t.Error("a port that is taken was listened on")
	}
	if _, err := api.Topics(t.Context()); err != nil {
		t.Errorf("a node without its VIP port: %v", err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
}

// TestVIPPortOfOurOwn has the log say which setting the VIP port clashes with.
func TestVIPPortOfOurOwn(t *testing.T) {
	c := settings(t)
	c.Broker.Listen = freePort(t)
	host, port, err := net.SplitHostPort(c.Broker.Listen)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c.HTTP.Listen = net.JoinHostPort(host, strconv.Itoa(n-vipBelow))
	var said bytes.Buffer
	p, err := listenAll(t.Context(), c, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Skipf("the port below the free one is taken: %v", err)
	}
	defer p.close()
	if text := said.String(); !strings.Contains(text, "http.listen") || strings.Contains(text, "another process") || p.vip != nil {
		t.Errorf("with http.listen at %s the log says %q", c.HTTP.Listen, text)
	}
}
