package history

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/remoting"
)

const broker = "b"

func openArchive(t *testing.T, b objstore.Bucket) *archive.Archive {
	t.Helper()
	a, err := archive.Open(t.Context(), b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// store archives messages in files of some rows each.
func store(t *testing.T, a *archive.Archive, broker string, in []mq.Message, rowsPerFile int) {
	t.Helper()
	byQueue := map[mq.Queue][]mq.Record{}
	for i := range in {
		q := mq.Queue{Broker: broker, Topic: in[i].Topic, ID: in[i].QueueID}
		byQueue[q] = append(byQueue[q], mq.AppendRecord(nil, &in[i]))
	}
	for q, recs := range byQueue {
		for i := 0; i < len(recs); i += rowsPerFile {
			appendFile(t, a, q, recs[i:min(i+rowsPerFile, len(recs))])
		}
	}
}

func appendFile(t *testing.T, a *archive.Archive, q mq.Queue, recs []mq.Record) {
	t.Helper()
	tbl, err := a.CreateTable(t.Context(), q.Topic)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := archive.NewFileWriter(&buf, q, archive.FileOptions{Epoch: 1})
	for _, r := range recs {
		if err := w.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	f.Name = archive.FileName(q, tbl.Root(), f.Offsets.From, f.Rows, 1)
	if err := a.Bucket().Put(t.Context(), f.Name, &buf, f.Bytes, objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	if _, err := tbl.Append(t.Context(), archive.Commit{ID: f.Name, Broker: q.Broker, Epoch: 1, Files: []archive.DataFile{f}}); err != nil {
		t.Fatal(err)
	}
}

// plain gives n messages of one queue, one a second from a time on.
func plain(topic string, id int32, n int, from time.Time) []mq.Message {
	out := make([]mq.Message, n)
	for i := range out {
		out[i] = mq.Message{
			Topic: topic, QueueID: id, QueueOffset: int64(i), PhysicalOffset: int64(id)<<32 + int64(i)*1000,
			StoreTimeMillis: from.Add(time.Duration(i) * time.Second).UnixMilli(),
			Body:            bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 100),
			Properties:      mq.AppendProperty(mq.AppendProperty(nil, mq.PropTags, fmt.Sprintf("t%d", i%2)), mq.PropUniqKey, fmt.Sprintf("%s-%d-%d", topic, id, i)),
		}
	}
	return out
}

func newNode(t *testing.T, a *archive.Archive, change func(*Config)) *Node {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), Poll: -1}
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg, a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return n
}

// serve puts a server on a port and gives its address.
func serve(t *testing.T, cfg ServerConfig, from Store) string {
	t.Helper()
	s, err := NewServer(cfg, from)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

func call(t *testing.T, c *remoting.Client, code int, body string, ext ...string) *remoting.Command {
	t.Helper()
	req := remoting.NewRequest(code, ext...)
	req.Body = []byte(body)
	resp, err := c.Call(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}
