package connector

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

const group2 = "b2"

// openLog2 opens the log of another broker group.
func openLog2(t *testing.T) *hot.Store {
	t.Helper()
	s, err := hot.Open("log", hot.Options{FS: vfs.NewMem(), Broker: group2, SegmentBytes: 1 << 20, MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func send2(t *testing.T, log *hot.Store, body string) {
	t.Helper()
	if _, err := log.Append(t.Context(), []*mq.Message{{Topic: "t", QueueID: 9, Body: []byte(body)}}); err != nil {
		t.Fatal(err)
	}
	if err := log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// liveTable gives the number of topic t's table and where its queues end.
func liveTable(t *testing.T, b objstore.Bucket) string {
	t.Helper()
	table, err := openArchive(t, b).Table(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	next := table.Snapshot().Next
	for _, q := range slices.SortedFunc(maps.Keys(next), func(a, b mq.Queue) int { return strings.Compare(a.String(), b.String()) }) {
		out = append(out, fmt.Sprintf("%s/%d:%d", q.Broker, q.ID, next[q]))
	}
	return fmt.Sprint(table.Incarnation(), " ", out)
}

// TestTableOfTwoGroups: a table that two broker groups write stays until the topic
// was deleted at both; what is new at the first one waits for that, over a crash
// and another deletion too, and its other topics don't.
func TestTableOfTwoGroups(t *testing.T) {
	for _, mode := range []string{"running", "crashed", "deleted twice"} {
		t.Run(mode, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			log, log2, bucket, o := openLog(t, fs), openLog2(t), mem.New(), newOracle(11)
			second := func(cfg *Config) { cfg.Broker = group2 }
			c, c2 := start(t, log, bucket, nil), start(t, log2, bucket, second)
			o.put(t, log, 1, "old1")
			send2(t, log2, "other1")
			c.mustFlush(t)
			c2.mustFlush(t)
			o.forget(t, log)
			o.put(t, log, 3, "newA")
			if err := log.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			waits := func(s Status) bool { return strings.Contains(s.Damaged["t"], group2) }
			c.until(t, "it waits for the other group", waits)
			switch mode {
			case "crashed":
				clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(3, 1))})
				c.stop()
				log.Close()
				log = openLog(t, clone)
				c = start(t, log, bucket, nil)
				c.until(t, "it waits again", waits)
			case "deleted twice":
				o.forget(t, log)
				o.put(t, log, 4, "newB")
				if err := log.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			defer func() { c.stop(); log.Close() }()
			send2(t, log2, "other2")
			c2.mustFlush(t)
			if got := liveTable(t, bucket); got != "1 [b/1:1 b2/9:2]" {
				t.Fatalf("table %s", got)
			}
			o.append(t, log, []*mq.Message{{Topic: "else", Body: []byte("goes on")}})
			c.until(t, "the other topic is archived", func(Status) bool {
				return log.Archived(mq.Queue{Broker: broker, Topic: "else"}) == 1
			})
			if err := log2.DeleteTopic("t"); err != nil { // and nothing new is sent there
				t.Fatal(err)
			}
			c.until(t, "it goes on", func(s Status) bool { return len(s.Damaged) == 0 && s.Files > 0 && s.LagMessages == 0 })
			c.mustFlush(t)
			want := "2 [b/3:1]"
			if mode == "deleted twice" {
				want = "2 [b/4:1]"
			}
			if got := liveTable(t, bucket); got != want {
				t.Fatalf("table %s, want %s", got, want)
			}
			send2(t, log2, "another")
			c2.mustFlush(t)
			if got := liveTable(t, bucket); got != strings.TrimSuffix(want, "]")+" b2/9:1]" {
				t.Errorf("table %s", got)
			}
			o.check(t, bucket, true)
			old, err := openArchive(t, bucket).ReadLedger(t.Context(), archive.Incarnation{Topic: "t", Number: 1})
			if err != nil || !old.Retired {
				t.Errorf("the first table: %+v, %v", old, err)
			}
		})
	}
}
