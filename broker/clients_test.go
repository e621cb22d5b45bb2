package broker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"varve/internal/mq"
)

func TestMembersAreTold(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		a, b := newClient(), newClient()
		r.join(a, "a", "pay", "orders", "*")
		r.join(b, "b", "pay", "orders", "*")
		if len(a.told) != 2 || len(b.told) != 1 {
			t.Errorf("a was told %d times and b %d times, want 2 and 1", len(a.told), len(b.told))
		}
		if ids, err := r.ConsumerIDs("pay"); err != nil || fmt.Sprint(ids) != "[a b]" {
			t.Errorf("members are %v, error %v", ids, err)
		}
		if made, ok := r.Topic("%RETRY%pay"); !ok || made.ReadQueues != 1 || made.Perm != 6 {
			t.Errorf("retry topic is %+v", made)
		}
		if c, err := r.FindConsumer("pay", "b"); err != nil || c != Client(b) {
			t.Errorf("b is %v, error %v", c, err)
		}
		r.Unregister(b, "", "pay")
		if len(a.told) != 3 {
			t.Errorf("a was told %d times, want 3", len(a.told))
		}
		if _, err := r.FindConsumer("pay", "b"); !errors.Is(err, ErrNoMember) {
			t.Errorf("b is found with error %v", err)
		}

		quiet := DefaultGroup("pay")
		quiet.NotifyMembers = false
		if err := r.PutGroup(quiet); err != nil {
			t.Fatal(err)
		}
		r.join(b, "b", "pay", "orders", "*")
		r.Disconnect(b)
		if len(a.told) != 3 {
			t.Errorf("a group that wants no notices was told: %d times", len(a.told))
		}
		time.Sleep(140 * time.Second) // no heartbeat since
		synctest.Wait()
		if _, err := r.ConsumerIDs("pay"); !errors.Is(err, ErrNoMember) {
			t.Errorf("silent members are still there: error %v", err)
		}
		if _, err := r.Consumers("pay"); !errors.Is(err, ErrNoMember) {
			t.Errorf("the group is still there: error %v", err)
		}
	})
}

func TestHeartbeatNeverFailsForOneGroup(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		c := newClient()
		if _, err := r.Heartbeat(c, &Heartbeat{}); !errors.Is(err, ErrBadRequest) {
			t.Errorf("a heartbeat without a client id: error %v", err)
		}
		hb := &Heartbeat{ClientID: "c", Producers: []string{"shop"}, Consumers: []ConsumerBeat{
			{Group: "b@d"},
			{Group: "pay", Subscriptions: []Subscription{{Topic: "orders", Type: "SQL92", Expression: "a >", Version: 1}}},
		}}
		if _, err := r.Heartbeat(c, hb); err != nil {
			t.Fatal(err)
		}
		if p, err := r.Producers("shop"); err != nil || len(p) != 1 || p[0].ClientID != "c" {
			t.Errorf("producers are %v, error %v", p, err)
		}
		if got := fmt.Sprint(r.ProducerGroups()); got != "[shop]" {
			t.Errorf("producer groups are %s", got)
		}
		if s, err := r.SubscriptionOf("pay", "orders"); err != nil || s.BadFilter == nil {
			t.Errorf("subscription %+v, error %v", s, err)
		}
		if _, err := r.SubscriptionOf("pay", "other"); !errors.Is(err, ErrNoSubscription) {
			t.Errorf("subscription of another topic: error %v", err)
		}
		r.send(message("orders", 0, "x"))
		p := <-r.pullAsync(PullRequest{Group: "pay", Topic: "orders", CommitOffset: -1})
		if !errors.Is(p.err, ErrBadFilter) {
			t.Errorf("a pull with a filter that doesn't parse: %v", p)
		}
		if err := r.CheckFilter("SQL92", "a > 1"); err != nil {
			t.Error(err)
		}
		if err := r.CheckFilter("SQL92", "a >"); !errors.Is(err, ErrBadFilter) {
			t.Errorf("bad filter: error %v", err)
		}
	})
}

func TestBroadcastMayBeOff(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.send(message("orders", 0, "x"))
		_, err := r.Heartbeat(newClient(), &Heartbeat{ClientID: "c", Consumers: []ConsumerBeat{{
			Group: "pay", MessageModel: modelBroadcasting, Subscriptions: []Subscription{{Topic: "orders", Expression: "*", Version: 1}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		req := PullRequest{Group: "pay", Topic: "orders", CommitOffset: -1}
		if p := <-r.pullAsync(req); p.err != nil || p.Status != PullFound {
			t.Errorf("broadcast pull: %v", p)
		}
		g := DefaultGroup("pay")
		g.Broadcast = false
		if err := r.PutGroup(g); err != nil {
			t.Fatal(err)
		}
		if p := <-r.pullAsync(req); !errors.Is(p.err, ErrForbidden) {
			t.Errorf("broadcast pull of a group that may not: %v", p)
		}
	})
}

func TestQueueLocks(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		q := []mq.Queue{r.queue("orders", 0), r.queue("orders", 1)}
		if got := r.LockQueues("pay", "a", q[:1]); len(got) != 1 {
			t.Errorf("a got %v", got)
		}
		if got := r.LockQueues("pay", "b", q); len(got) != 1 || got[0] != q[1] {
			t.Errorf("b got %v", got)
		}
		r.UnlockQueues("pay", "a", q)
		if got := r.LockQueues("pay", "b", q); len(got) != 2 {
			t.Errorf("b got %v", got)
		}
	})
}

func TestMembersThatDifferAreLoggedOnceAChange(t *testing.T) {
	var logged bytes.Buffer
	inBubble(t, func(_ *Config, d *Deps) {
		d.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}, func(r *rig) {
		a, b := newClient(), newClient()
		r.join(a, "a", "g", "orders", "paid")
		for range 3 {
			r.join(b, "b", "g", "orders", "sent")
		}
		if s, w := r.Stats(), r.Differing("g"); s.GroupsDiffering != 1 || len(w) != 2 {
			t.Errorf("%d groups differ, the group's members want %v", s.GroupsDiffering, w)
		}
		r.Disconnect(a)
		r.join(a, "a", "g", "orders", "sent")
		if s, w := r.Stats(), r.Differing("g"); s.GroupsDiffering != 0 || w != nil {
			t.Errorf("%d groups differ, the group's members want %v", s.GroupsDiffering, w)
		}
	})
	for text, want := range map[string]int{"subscribe to different things": 1, "agree again": 1, `[orders: paid of a orders: sent of b]`: 1} {
		if n := strings.Count(logged.String(), text); n != want {
			t.Errorf("%q was logged %d times, want %d:\n%s", text, n, want, &logged)
		}
	}
}
