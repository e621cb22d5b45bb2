package fronttest

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/broker"
	"varve/hot"
	"varve/internal/meta"
)

// Node is a broker for a front to stand before.
type Node struct {
	Broker *broker.Broker
	Log    *hot.Store
	State  *meta.Store
	Conf   broker.Config

	parts map[string]func(context.Context) error
}

// Options change what Open makes.
type Options struct {
	Addr netip.AddrPort // the broker's
	Conf func(*broker.Config)
	Deps func(*broker.Deps)
	Dir  string // a new one if empty
	FS   vfs.FS // in place of the disk
	Log  func(*hot.Options)
}

// Open makes a broker, which is closed when the test ends.
func Open(t testing.TB, o Options) *Node {
	t.Helper()
	n := &Node{Conf: broker.DefaultConfig()}
	n.Conf.StoreHost = o.Addr
	if o.Conf != nil {
		o.Conf(&n.Conf)
	}
	if o.Dir == "" && o.FS == nil {
		o.Dir = t.TempDir()
	}
	var err error
	log := hot.Options{FS: o.FS, Broker: n.Conf.Broker, StoreHost: o.Addr, MinFreeBytes: 1}
	if o.Log != nil {
		o.Log(&log)
	}
	if n.Log, err = hot.Open(o.Dir+"/log", log); err != nil {
		t.Fatal(err)
	}
	closes(t, "log", n.Log.Close)
	if n.State, err = meta.Open(o.Dir+"/meta", o.FS); err != nil {
		t.Fatal(err)
	}
	closes(t, "meta", n.State.Close)
	deps := broker.Deps{Log: n.Log, Meta: n.State}
	if o.Deps != nil {
		o.Deps(&deps)
	}
	if n.Broker, err = broker.New(n.Conf, deps); err != nil {
		t.Fatal(err)
	}
	closes(t, "broker", n.Broker.Close)
	n.parts = map[string]func(context.Context) error{"broker": n.Broker.Run}
	return n
}

func closes(t testing.TB, what string, end func() error) {
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("close %s: %v", what, err)
		}
	})
}

// With names something that runs beside the broker.
func (n *Node) With(what string, run func(context.Context) error) *Node {
	n.parts[what] = run
	return n
}

// Run runs the broker and what is beside it until the test ends.
func (n *Node) Run(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for what, run := range n.parts {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	t.Cleanup(func() { cancel(); running.Wait() })
}

// Listen takes a free port of this machine.
func Listen(t testing.TB) (net.Listener, netip.AddrPort) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln, ln.Addr().(*net.TCPAddr).AddrPort()
}
