package broker

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// A tenant over its quota is refused sends, pulls and further clients; others
// aren't.
func TestQuotaOfATenant(t *testing.T) {
	h := newRig(t, vfs.NewMem(), func(_ *Config, d *Deps) {
		now := time.Unix(1_800_000_000, 0)
		d.Now = func() time.Time { return now } // no second passes
	})
	defer h.stop()
	if err := h.PutQuota(Quota{Tenant: "acme", SendMessages: 2, ReadBytes: 1}); err != nil {
		t.Fatal(err)
	}
	send := func(topic string) error {
		_, err := h.Send(t.Context(), &SendRequest{Group: "p", Message: mq.Message{Topic: topic, QueueID: 0, Body: []byte("x")}, MaxReconsumeTimes: -1})
		return err
	}
	for i, want := range []bool{false, false, true} {
		if err := send("acme%orders"); want != errors.Is(err, ErrOverQuota) || !want && err != nil {
			t.Errorf("send %d: %v", i, err)
		}
	}
	if err := send("orders"); err != nil {
		t.Errorf("another tenant's send: %v", err)
	}
	pull := func(topic string) error {
		got := make(chan error, 1)
		h.Pull(t.Context(), &PullRequest{Group: "acme%g", Topic: topic, CommitOffset: -1, Inline: true, Expression: "*"}, func(_ PullResult, err error) { got <- err })
		return <-got
	}
	for i, want := range []bool{false, true} {
		if err := pull("acme%orders"); want != errors.Is(err, ErrOverQuota) || !want && err != nil {
			t.Errorf("pull %d: %v", i, err)
		}
	}
	if err := pull("orders"); err != nil {
		t.Errorf("another tenant's pull: %v", err)
	}
	peek := func(topic string) error {
		_, _, _, err := h.Peek(t.Context(), &PopRequest{Group: "acme%g", Topic: topic, QueueID: AnyQueue})
		return err
	}
	if err := peek("acme%orders"); !errors.Is(err, ErrOverQuota) {
		t.Errorf("peek: %v", err)
	}
	if err := peek("orders"); err != nil {
		t.Errorf("another tenant's peek: %v", err)
	}
	if err := h.PutQuota(Quota{Tenant: "beta", ReadMessages: 1}); err != nil {
		t.Fatal(err)
	}
	if err := send("beta%orders"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true} {
		if err := peek("beta%orders"); want != errors.Is(err, ErrOverQuota) || !want && err != nil {
			t.Errorf("peek %d: %v", i, err)
		}
	}
}

// The bytes of a send are its bodies and properties.
func TestPropertiesCountForTheQuota(t *testing.T) {
	h := newRig(t, vfs.NewMem(), func(_ *Config, d *Deps) {
		now := time.Unix(1_800_000_000, 0)
		d.Now = func() time.Time { return now }
	})
	defer h.stop()
	if err := h.PutQuota(Quota{Tenant: "acme", SendBytes: 10_000}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true} {
		m := mq.Message{Topic: "acme%orders", Body: []byte("x"), Properties: mq.AppendProperty(nil, "long", strings.Repeat("x", 10_000))}
		_, err := h.Send(t.Context(), &SendRequest{Group: "p", Message: m, MaxReconsumeTimes: -1})
		if want != errors.Is(err, ErrOverQuota) || !want && err != nil {
			t.Errorf("send %d: %v", i, err)
		}
	}
}
