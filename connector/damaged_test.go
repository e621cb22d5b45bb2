package connector

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

// spoil overwrites the metadata of a topic's table and gives what puts it back.
func spoil(t *testing.T, b objstore.Bucket, root string, name func(string) bool) (restore func()) {
	t.Helper()
	put := func(name string, data []byte) {
		if err := b.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if err := b.Put(t.Context(), name, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent); err != nil {
			t.Fatal(err)
		}
	}
	saved := map[string][]byte{}
	for o, err := range b.List(t.Context(), root+"/") {
		if err != nil {
			t.Fatal(err)
		}
		if !name(o.Name) {
			continue
		}
		r, err := b.Get(t.Context(), o.Name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		saved[o.Name] = data
	}
	if len(saved) == 0 {
		t.Fatal("nothing to damage")
	}
	for name := range saved {
		put(name, []byte("damaged"))
	}
	return func() {
		for name, data := range saved {
			put(name, data)
		}
	}
}

func TestDamagedTableBlocksItsTopicOnly(t *testing.T) {
	for what, name := range map[string]func(string) bool{
		"metadata": func(n string) bool { return strings.HasSuffix(n, ".metadata.json") },
		"manifest": func(n string) bool { return strings.HasSuffix(n, ".avro") },
	} {
		t.Run(what, func(t *testing.T) {
			log, bucket, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(11)
			defer log.Close()
			c := start(t, log, bucket, nil)
			o.send(t, log, 200, 2, 2)
			c.mustFlush(t)
			c.stop()
			table, err := openArchive(t, bucket).Table(t.Context(), "topic-0")
			if err != nil {
				t.Fatal(err)
			}
			o.send(t, log, 2000, 2, 2)
			restore := spoil(t, bucket, table.Root(), name)

			c = start(t, log, bucket, nil)
			o.send(t, log, 200, 2, 3) // a queue that is new, too
			ctx, cancel := context.WithTimeout(t.Context(), flushWait)
			defer cancel()
			if err := c.Flush(ctx); !errors.Is(err, ErrBlocked) || !strings.Contains(err.Error(), "topic-0") {
				t.Fatalf("flush: %v; status %+v", err, c.Status())
			}
			st := c.Status()
			if st.Damaged["topic-0"] == "" || len(st.Damaged) != 1 || len(st.Blocked) != 3 || st.LagMessages == 0 {
				t.Errorf("status %+v", st)
			}
			for id, sent := range o.sent {
				if mark := log.Archived(id); id.Topic == "topic-1" && mark != int64(len(sent)) {
					t.Errorf("%v is archived to %d, want %d", id, mark, len(sent))
				}
			}
			if err := log.Roll(t.Context()); err != nil {
				t.Fatal(err)
			}
			trim := drop
			trim.DropUnarchived = false
			if _, err := log.Trim(t.Context(), trim); err != nil {
				t.Fatal(err)
			}

			restore()
			c.until(t, "the table can be read again", func(s Status) bool { return len(s.Damaged) == 0 && s.State == Running })
			c.mustFlush(t)
			o.check(t, bucket, true)
			if q := (mq.Queue{Broker: broker, Topic: "topic-0"}); log.Archived(q) != int64(len(o.sent[q])) {
				t.Errorf("%v is archived to %d, want %d", q, log.Archived(q), len(o.sent[q]))
			}
		})
	}
}
