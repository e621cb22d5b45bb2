package http

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/broker"
	"varve/broker/front/fronttest"
)

// inBubble runs a front without a port over a broker in memory, with a clock of
// their own.
func inBubble(t *testing.T, test func(t *testing.T, b *broker.Broker, f *Front)) {
	synctest.Test(t, func(t *testing.T) {
		n := fronttest.Open(t, fronttest.Options{Addr: netip.MustParseAddrPort("192.0.2.1:10911"), FS: vfs.NewMem()})
		b, f := n.Broker, New(n.Broker, Config{})
		n.With("sweep", func(ctx context.Context) error { f.sweep(ctx); return nil }).Run(t)
		for _, name := range []string{"orders", "refunds"} {
			if err := b.PutTopic(broker.Topic{Name: name, ReadQueues: 1, WriteQueues: 1, Perm: 6}); err != nil {
				t.Fatal(err)
			}
		}
		test(t, b, f)
	})
}

// get asks for messages from an address.
func get(f *Front, from, path string) (status int) {
	r := httptest.NewRequest("GET", path, nil)
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w.Code
}

// What asks for messages is a member of its group while it does, by address, and
// a minute longer.
func TestConsumersAreMembersOfTheirGroup(t *testing.T) {
	inBubble(t, func(t *testing.T, b *broker.Broker, f *Front) {
		members := func(want ...string) {
			t.Helper()
			got, _ := b.ConsumerIDs("g")
			if !slices.Equal(got, want) {
				t.Errorf("the group's members are %v, want %v", got, want)
			}
		}
		if s := get(f, "192.0.2.7:1000", "/topics/nowhere/messages?consumer=g"); s != 404 {
			t.Errorf("status %d of a topic that isn't there", s)
		}
		members()
		asked := make(chan int)
		go func() {
			asked <- get(f, "192.0.2.7:1000", "/topics/orders/messages?consumer=g&tag=paid&waitseconds=30")
		}()
		synctest.Wait()
		members("HTTP@192.0.2.7")
		get(f, "192.0.2.7:1001", "/topics/refunds/messages?consumer=g")
		get(f, "192.0.2.8:1000", "/topics/orders/messages?consumer=g&tag=paid")
		members("HTTP@192.0.2.7", "HTTP@192.0.2.8")
		m, err := b.Consumers("g")
		if err != nil || m.ConsumeType != "CONSUME_ACTIVELY" || len(m.Members) != 2 || m.Members[0].Language != "HTTP" {
			t.Errorf("the group is %+v, %v", m, err)
		}
		<-asked
		for range 10 { // a wait every half minute keeps the one that asks
			get(f, "192.0.2.7:1002", "/topics/orders/messages?consumer=g&tag=sent&waitseconds=20")
			time.Sleep(10 * time.Second)
		}
		members("HTTP@192.0.2.7")
		m, _ = b.Consumers("g")
		if len(m.Subscriptions) != 1 || m.Subscriptions[0].Topic != "orders" || m.Subscriptions[0].Expression != "sent" {
			t.Errorf("subscriptions %+v", m.Subscriptions)
		}
		time.Sleep(memberSilence + 2*sweepEvery)
		members()
	})
}

// A tenant's bound on clients counts consumers too.
func TestConsumersCountAsClientsOfTheirTenant(t *testing.T) {
	inBubble(t, func(t *testing.T, b *broker.Broker, f *Front) {
		if err := b.PutQuota(broker.Quota{Tenant: "default", Connections: 1}); err != nil {
			t.Fatal(err)
		}
		if s := get(f, "192.0.2.7:1000", "/topics/orders/messages?consumer=g"); s != 404 {
			t.Errorf("status %d of the first, want 404: no message", s)
		}
		if s := get(f, "192.0.2.8:1000", "/topics/orders/messages?consumer=g"); s != throttled.status {
			t.Errorf("status %d of one too many", s)
		}
		if s := get(f, "192.0.2.7:1000", "/topics/orders/messages?consumer=g"); s != 404 {
			t.Errorf("status %d of the first again", s)
		}
	})
}

// Over the port it is connections that count, those that only publish too, until
// they end.
func TestConnectionsCountForTheirTenant(t *testing.T) {
	ln, addr := fronttest.Listen(t)
	n := fronttest.Open(t, fronttest.Options{Addr: addr})
	b, f := n.Broker, New(n.Broker, Config{})
	n.With("front", func(ctx context.Context) error { return f.Serve(ctx, ln) }).Run(t)
	if err := b.PutTopic(broker.Topic{Name: "orders", ReadQueues: 1, WriteQueues: 1, Perm: 6}); err != nil {
		t.Fatal(err)
	}
	if err := b.PutQuota(broker.Quota{Tenant: "default", Connections: 1}); err != nil {
		t.Fatal(err)
	}
	first, second := &http.Client{Transport: &http.Transport{}}, &http.Client{Transport: &http.Transport{}}
	defer second.CloseIdleConnections()
	ask := func(c *http.Client, method, query, body string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr.String()+"/topics/orders/messages"+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	publish := func(c *http.Client) int {
		return ask(c, http.MethodPost, "", "<Message><MessageBody>x</MessageBody></Message>")
	}
	for range 2 {
		if got := publish(first); got != http.StatusCreated {
			t.Errorf("the first publishes: %d", got)
		}
	}
	if got := ask(first, http.MethodGet, "?consumer=g", ""); got != http.StatusOK {
		t.Errorf("it consumes over the same connection: %d", got)
	}
	if got := publish(second); got != throttled.status {
		t.Errorf("one too many: %d", got)
	}
	first.CloseIdleConnections()
	for end := time.Now().Add(30 * time.Second); publish(second) != http.StatusCreated; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("the place of a connection that ended stays taken")
		}
	}
}
