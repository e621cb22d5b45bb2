package grpc

import (
	"context"
	"encoding/json"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/broker"
	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// inBubble runs a front without a port over a broker in memory, with a clock of
// their own.
func inBubble(t *testing.T, test func(t *testing.T, b *broker.Broker, f *Front)) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		conf := broker.DefaultConfig()
		conf.StoreHost = netip.MustParseAddrPort("192.0.2.1:10911")
		log, err := hot.Open("log", hot.Options{FS: fs, Broker: conf.Broker, StoreHost: conf.StoreHost, MinFreeBytes: -1, SegmentBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		state, err := meta.Open("meta", fs)
		if err != nil {
			t.Fatal(err)
		}
		b, err := broker.New(conf, broker.Deps{Log: log, Meta: state})
		if err != nil {
			t.Fatal(err)
		}
		f, err := New(b, Config{Listen: conf.StoreHost})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		defer func() {
			cancel()
			for _, end := range []func() error{func() error { return <-ended }, b.Close, log.Close, state.Close} {
				if err := end(); err != nil {
					t.Error(err)
				}
			}
		}()
		test(t, b, f)
	})
}

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
			inBubble(t, func(t *testing.T, b *broker.Broker, f *Front) {
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
