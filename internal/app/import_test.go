package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"varve/broker"
	"varve/internal/mq"
)

// TestImportThenRestore brings in a cluster, which is a node of ours here, by its
// ports, is cut short, goes on, and gives a broker of the same name that goes on
// where the cluster's ends.
func TestImportThenRestore(t *testing.T) {
	c := settings(t)
	src, api, stop := run(t, c)
	mustCreate(t, api, "orders", 1)
	mustCreate(t, api, "silent", 2)
	send(t, api, "orders", 0, 3000)
	if err := src.broker.PutGroup(broker.DefaultGroup("pay")); err != nil {
		t.Fatal(err)
	}
	if err := src.broker.CommitOffset("pay", "orders", 0, 1234); err != nil {
		t.Fatal(err)
	}
	to := bucketed(t)
	o := ImportOptions{NameServer: src.Addr("route"), Rate: 100 << 10}
	for pattern, want := range map[string]string{"ordres": `no topic "ordres"`, "[": `"[" is no pattern`, "RMQ_SYS_*": "no topic"} {
		typo := o
		typo.Topics = []string{"orders", pattern}
		if _, err := Import(t.Context(), to, typo, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--topic %s: %v", pattern, err)
		}
	}
	// The rate alone makes it take five seconds.
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	log := slog.New(slog.DiscardHandler)
	if _, err := Import(short, to, o, log); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("cut short: %v", err)
	}
	o.Rate = 0
	r, err := Import(t.Context(), to, o, log)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Brokers) != 1 || r.Brokers[0].Name != "varve-a" || r.Brokers[0].Generation != 2 || len(r.Brokers[0].Topics) != 2 {
		t.Fatalf("%+v", r)
	}
	send(t, api, "orders", 3000, 3100) // while it serves
	if r, err = Import(t.Context(), to, o, log); err != nil || r.Brokers[0].Messages != 100 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = Import(t.Context(), to, o, log); err != nil || r.Brokers[0].Messages != 0 {
		t.Fatalf("nothing new: %+v, %v", r, err)
	}
	want := everyRecord(t, src, "orders")
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	to.Restore = true
	n, api, _ := run(t, to)
	if got := everyRecord(t, n, "orders"); len(got) != 3100 || strings.Join(got, "") != strings.Join(want, "") {
		t.Errorf("%d records, %d at the source", len(got), len(want))
	}
	if off, err := n.broker.QueryOffset(t.Context(), "pay", "orders", 0, false); err != nil || off != 1234 {
		t.Errorf("the group goes on at %d, %v", off, err)
	}
	if top, ok := n.broker.Topic("silent"); !ok || top.Queues() != 2 {
		t.Errorf("a topic without messages: %+v", top)
	}
	send(t, api, "orders", 3100, 3150)
	readAll(t, api, "orders", 0, 3150)
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := countRows(t, api, "orders"); got != "3150" {
		t.Errorf("SQL counts %s", got)
	}
	// The archive is a data directory's now.
	if _, err := Import(t.Context(), to, ImportOptions{NameServer: n.Addr("route")}, log); err == nil || !strings.Contains(err.Error(), "belongs to a Varve broker") {
		t.Errorf("an import over a broker's archive: %v", err)
	}
}

// everyRecord reads queue 0 of a topic, as stored.
func everyRecord(t *testing.T, n *Node, topic string) (out []string) {
	t.Helper()
	q := mq.Queue{Broker: "varve-a", Topic: topic}
	r, err := n.reader.Range(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for at := r.From; at < r.To; {
		b, err := n.reader.Read(t.Context(), q, at, mq.Limit{Messages: 500, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for rec := range mq.Records(b.Body) {
			out = append(out, string(rec))
		}
		if b.Next <= at {
			t.Fatal(fmt.Errorf("nothing at %d", at))
		}
		at = b.Next
	}
	return out
}
