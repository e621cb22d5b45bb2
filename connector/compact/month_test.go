package compact

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"varve/history"
	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/typed"
)

// What docs/bench promises of a topic and day, beside its commits.
const (
	mostCommitCalls = 16 // of a commit of two files, their uploads included
	mostDailyCalls  = 1200
	mostOpenFiles   = 15 // of a queue, of the day that lasts; of each other day it has one
)

// TestMonth lives through a month of a topic of two queues with a commit an
// hour, with compaction and sweep: how many files there are and what all of it
// asks of the bucket stay within what is promised.
func TestMonth(t *testing.T) {
	t.Parallel()
	month(t, nil)
}

// TestMonthOfASchema: a topic whose bodies become columns has no more files, but
// for one a queue for each time that its schema changed.
func TestMonthOfASchema(t *testing.T) {
	t.Parallel()
	topic, layouts := typed.Topic{Name: "orders"}, []*typed.Layout(nil)
	for _, doc := range []string{`{"properties":{"n":{"type":"integer","format":"int32"}}}`, `{"properties":{"n":{"type":"integer"},"s":{"type":"string"}}}`} {
		var err error
		var l *typed.Layout
		if topic, _, err = topic.Declare(typed.Declaration{Format: typed.JSON, Document: []byte(doc)}, typed.Table{}); err == nil {
			l, err = topic.Layout()
		}
		if err != nil {
			t.Fatal(err)
		}
		layouts = append(layouts, l)
	}
	month(t, func(hour int) *typed.Layout {
		switch {
		case hour < 5*24+7:
			return nil
		case hour < 17*24+3:
			return layouts[0]
		}
		return layouts[1]
	})
}

// month is a month of commits; schema gives what is in force in an hour of it.
func month(t *testing.T, schema func(hour int) *typed.Layout) {
	t.Helper()
	if testing.Short() {
		t.Skip("one goroutine counts requests")
	}
	bucket := objtest.NewFaulty(mem.New())
	a, err := archive.Open(t.Context(), bucket, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	table, err := a.CreateTable(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Truncate(24 * time.Hour).Add(24 * time.Hour)
	now := begin
	clock := func() time.Time { return now }
	c, err := New(Config{Broker: "varve-a", Dir: t.TempDir(), BytesPerSecond: -1, CPU: 1, Now: clock}, a)
	if err != nil {
		t.Fatal(err)
	}
	node, err := history.New(history.Config{Dir: t.TempDir(), Poll: -1}, a)
	if err != nil {
		t.Fatal(err)
	}
	keeper := history.NewRetainer(history.RetainConfig{Grace: 10 * time.Minute, Every: -1, Now: clock}, node)
	w := archive.NewFileWriter(io.Discard, mq.Queue{}, archive.FileOptions{})
	const days = 30
	commits, uploads, changes := 0, 0, 0
	var last *typed.Layout
	for hour := range days * 24 {
		now = begin.Add(time.Duration(hour) * time.Hour)
		if schema != nil && schema(hour) != last {
			last = schema(hour)
			w = archive.NewFileWriter(io.Discard, mq.Queue{}, archive.FileOptions{Typed: last})
			if err := table.Evolve(t.Context(), last); err != nil {
				t.Fatal(err)
			}
			changes++
		}
		bucket.Calls()
		commit := archive.Commit{ID: fmt.Sprint(hour), Broker: "varve-a", Epoch: 1}
		for id := range int32(2) {
			q := mq.Queue{Broker: "varve-a", Topic: "orders", ID: id}
			commit.Files = append(commit.Files, hourFile(t, bucket, w, table, q, int64(hour), now))
		}
		if _, err := table.Append(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
		commits += len(bucket.Calls())
		c.Look(t.Context())
		if _, err := keeper.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		uploads += len(bucket.Calls())
	}
	now = now.Add(26 * time.Hour)
	for range 3 {
		now = now.Add(2 * time.Hour)
		if _, err := keeper.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	perCommit, perDay := float64(commits)/(days*24), float64(uploads)/days
	objects := 0
	for o, err := range bucket.List(t.Context(), table.Root()+"/data/") {
		if err != nil {
			t.Fatal(err)
		}
		if o.Size > 0 {
			objects++
		}
	}
	if st := c.Status(); st.Failures > 0 {
		t.Errorf("%+v", st)
	}
	files := len(table.Index().All())
	t.Logf("%.1f requests a commit, %.1f a day of compaction and sweep; %d files, %d objects, %d snapshots", perCommit, perDay, files, objects, table.Snapshots())
	if perCommit > mostCommitCalls || perDay > mostDailyCalls {
		t.Errorf("%.1f requests a commit, %.1f a day beside", perCommit, perDay)
	}
	if files > 2*(days+mostOpenFiles+changes) || objects > files {
		t.Errorf("%d files, %d objects after %d days", files, objects, days)
	}
	for id := range int32(2) {
		if r, _ := table.Index().Range(mq.Queue{Broker: "varve-a", Topic: "orders", ID: id}); r != (mq.Range{To: days * 24 * 3}) {
			t.Errorf("queue %d has %v", id, r)
		}
	}
}

// hourFile uploads a file of three messages.
func hourFile(t *testing.T, b objstore.Bucket, w *archive.FileWriter, table *archive.Table, q mq.Queue, hour int64, at time.Time) archive.DataFile {
	t.Helper()
	var buf bytes.Buffer
	w.Reset(&buf, q, 1)
	for i := range int64(3) {
		off := hour*3 + i
		if err := w.Add(mq.AppendRecord(nil, &mq.Message{
			Topic: q.Topic, QueueID: q.ID, QueueOffset: off, PhysicalOffset: int64(q.ID)<<40 + off*200,
			StoreTimeMillis: at.UnixMilli() + i, Body: fmt.Appendf(nil, `{"n":%d,"s":"x"}`, off),
		})); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	f.Name = archive.FileName(q, table.Root(), f.Offsets.From, f.Rows, 1)
	if err := b.Put(t.Context(), f.Name, &buf, f.Bytes, objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	return f
}
