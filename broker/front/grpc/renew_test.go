package grpc

import (
	"encoding/json"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/broker"
	"varve/broker/front/fronttest"
	"varve/internal/mq"
)

// A message whose renewing ends comes again after its group's delay, as one that
// failed does.
func TestWhatIsRenewedNoLongerWaitsForItsGroupsDelay(t *testing.T) {
	own := broker.DefaultGroup("own")
	if err := json.Unmarshal([]byte(`{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1200000]}}`), &own.RetryPolicy); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		group broker.Group
		delay time.Duration
	}{{"of its own", own, 20 * time.Minute}, {"of everybody", broker.DefaultGroup("usual"), 10 * time.Second}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := fronttest.Open(t, fronttest.Options{Addr: netip.MustParseAddrPort("192.0.2.1:10911"), FS: vfs.NewMem()})
				n.Run(t)
				b := n.Broker
				f, err := New(b, Config{Listen: n.Conf.StoreHost})
				if err != nil {
					t.Fatal(err)
				}
				if err := b.PutGroup(tc.group); err != nil {
					t.Fatal(err)
				}
				if err := b.PutTopic(broker.Topic{Name: "orders", ReadQueues: 1, WriteQueues: 1, Perm: 6}); err != nil {
					t.Fatal(err)
				}
				if _, err := b.Send(t.Context(), &broker.SendRequest{Message: mq.Message{Topic: "orders", Body: []byte("slow")}}); err != nil {
					t.Fatal(err)
				}
				p := &broker.PopRequest{Group: tc.group.Name, Topic: "orders", QueueID: broker.AnyQueue, Invisible: renewedInvisible, FromMin: true}
				r, err := b.AwaitPop(t.Context(), p)
				if err != nil || len(r.Messages) != 1 {
					t.Fatalf("popped %d messages, %v", len(r.Messages), err)
				}
				c, err := f.clients.getOrMake(caller{id: "c"}, "GO", time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if !f.remember(c, p, &r) {
					t.Fatal("the client is gone")
				}
				for begin := time.Now(); time.Since(begin) <= renewMost; time.Sleep(sweepEvery) {
					f.renew(c, time.Now())
				}
				f.renew(c, time.Now())
				if n := f.Stats().Renewals; n != 0 {
					t.Errorf("%d are still renewed", n)
				}
				p.Wait = time.Hour
				begin := time.Now()
				r, err = b.AwaitPop(t.Context(), p)
				if err != nil || len(r.Messages) != 1 || r.Messages[0].Deliveries != 1 {
					t.Fatalf("popped %d messages, %v", len(r.Messages), err)
				}
				if took := time.Since(begin); took < tc.delay || took > tc.delay+2*time.Second {
					t.Errorf("came again after %v, want %v", took, tc.delay)
				}
			})
		})
	}
}

// A clock that was ahead when a message was given out doesn't keep it from being
// renewed.
func TestRenewedWhateverTheClockSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := time.Hour
		n := fronttest.Open(t, fronttest.Options{
			Addr: netip.MustParseAddrPort("192.0.2.1:10911"), FS: vfs.NewMem(),
			Deps: func(d *broker.Deps) { d.Clock = func() time.Time { return time.Now().Round(0).Add(ahead) } },
		})
		n.Run(t)
		b := n.Broker
		f, err := New(b, Config{Listen: n.Conf.StoreHost})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Send(t.Context(), &broker.SendRequest{Message: mq.Message{Topic: "orders", Body: []byte("slow")}, DefaultQueues: 1}); err != nil {
			t.Fatal(err)
		}
		p := &broker.PopRequest{Group: "g", Topic: "orders", QueueID: broker.AnyQueue, Invisible: renewedInvisible, FromMin: true}
		r, err := b.AwaitPop(t.Context(), p)
		if err != nil || len(r.Messages) != 1 {
			t.Fatalf("popped %d messages, %v", len(r.Messages), err)
		}
		c, err := f.clients.getOrMake(caller{id: "c"}, "GO", time.Now())
		if err != nil || !f.remember(c, p, &r) {
			t.Fatal("the client is gone", err)
		}
		for begin := time.Now(); time.Since(begin) <= 3*renewedInvisible; time.Sleep(sweepEvery) {
			f.renew(c, time.Now())
		}
		if r, err := b.AwaitPop(t.Context(), p); err != nil || len(r.Messages) != 0 {
			t.Errorf("popped %d messages, %v", len(r.Messages), err)
		}
	})
}
