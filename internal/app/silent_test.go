package app

import (
	"strings"
	"testing"
	"time"

	"varve/internal/admin"
	wire "varve/internal/remoting"
)

// TestSilentBucket takes a bucket from under a running node that goes on taking
// requests and answers none: whatever needs it says so soon, what is hot is
// served, and it all comes back by itself.
func TestSilentBucket(t *testing.T) {
	s3 := newStore(t)
	c := s3.settings(t)
	c.Archive.Timeout = 300 * time.Millisecond
	filled(t, c)
	n, api, _ := run(t, c)
	send(t, api, "orders", 300, 400)
	client := wire.NewClient(n.Addr("broker"), wire.ClientConfig{})
	defer client.Close()
	cold := wire.NewClient(n.Addr("history"), wire.ClientConfig{})
	defer cold.Close()
	pullAt(t, client, 300) // makes the group
	progress := wire.NewRequest(wire.UpdateConsumerOffset, "consumerGroup", "puller", "topic", "orders", "queueId", "0", "commitOffset", "10")
	if r, err := client.Call(t.Context(), progress); err != nil || r.Code != wire.Success {
		t.Fatalf("%v, %+v", err, r)
	}
	s3.silent.Store(true)
	// Once before it was noticed, and once after.
	for _, when := range []string{"unnoticed", "noticed"} {
		silently(t, when, n, api)
		if r := pullAt(t, cold, 10); r.Code != wire.SystemError || !strings.Contains(r.Remark, "archive unavailable") {
			t.Errorf("%s: cold pull: code %d %s", when, r.Code, r.Remark)
		}
		if r := pullAt(t, client, 300); r.Code != wire.Success {
			t.Errorf("%s: hot pull: code %d %s", when, r.Code, r.Remark)
		}
		awaitAway(t, n)
	}
	s3.silent.Store(false)
	for end := time.Now().Add(30 * time.Second); ask(t, api, "select 1 from orders") != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it doesn't come back")
		}
	}
	if err := api.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	readAll(t, api, "orders", 0, 400)
}

func awaitAway(t *testing.T, n *Node) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, away := n.archive.Away(); away != nil {
			return
		} else if time.Now().After(end) {
			t.Fatal("nobody notices")
		}
	}
}

// silentAtMost is how long an answer may take where the limit of a request is
// 300 ms: some requests, on a slow machine.
const silentAtMost = 5 * time.Second

func silently(t *testing.T, when string, n *Node, api *admin.Client) {
	t.Helper()
	within := func(what string, f func() error) error {
		t.Helper()
		began := time.Now()
		err := f()
		if took := time.Since(began); took > silentAtMost {
			t.Errorf("%s: %s took %s", when, what, took)
		}
		return err
	}
	for what, f := range map[string]func() error{
		"cold read": func() error {
			_, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: "orders", Offset: 10, Max: 10})
			return err
		},
		"query":    func() error { return ask(t, api, "select count(*) from orders") },
		"explain":  func() error { _, err := api.Explain(t.Context(), ""); return err },
		"apply":    func() error { _, err := api.Apply(t.Context()); return err },
		"removals": func() error { _, err := api.Removals(t.Context(), ""); return err },
	} {
		var e *admin.Error
		if err := within(what, f); !asAPI(err, &e) || e.Code != admin.CodeUnavailable || !strings.Contains(e.Message, "archive unavailable: s3://history/p") {
			t.Errorf("%s: %s: %v", when, what, err)
		}
	}
	hot := func(what string, f func() error) {
		t.Helper()
		if err := within(what, f); err != nil {
			t.Errorf("%s: %s: %v", when, what, err)
		}
	}
	hot("query without a table", func() error { return ask(t, api, "select 1") })
	hot("hot read", func() error {
		_, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: "orders", Offset: 300, Max: 10})
		return err
	})
	hot("create", func() error {
		_, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "of-" + when, Queues: 2})
		return err
	})
	hot("topics", func() error { _, err := api.Topics(t.Context()); return err })
	hot("topic", func() error {
		d, err := api.Topic(t.Context(), "orders")
		if err == nil && (len(d.Detail) != 1 || d.Detail[0].Max != 400 || d.Detail[0].HotStart != 300) {
			t.Errorf("%s: topic %+v", when, d)
		}
		return err
	})
	hot("groups", func() error {
		list, err := api.Groups(t.Context())
		if err == nil && (len(list) != 1 || list[0].Lag != 390) {
			t.Errorf("%s: groups %+v", when, list)
		}
		return err
	})
	hot("status", func() error {
		st, err := api.ArchiveStatus(t.Context())
		if err == nil && (!strings.Contains(st.Unreached, "archive unavailable") || st.Pending != 100) {
			t.Errorf("%s: status %+v", when, st)
		}
		return err
	})
}
