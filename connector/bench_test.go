package connector

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore/fs"
	"varve/internal/typed"
)

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// benchMessages gives JSON-like bodies of about 1 KiB.
func benchMessages(n int) []*mq.Message {
	rng := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 500)
	for i := range words {
		words[i] = fmt.Sprintf("%x", rng.Uint64N(1<<40))
	}
	out := make([]*mq.Message, n)
	for i := range out {
		var b bytes.Buffer
		fmt.Fprintf(&b, `{"order":%d,"items":[`, i)
		for b.Len() < 1000 {
			fmt.Fprintf(&b, `{"sku":"%s","price":%d,"note":"%s %s"},`, words[rng.IntN(500)], rng.IntN(10_000), words[rng.IntN(500)], words[rng.IntN(500)])
		}
		b.WriteString("{}]}")
		p := mq.AppendProperty(nil, mq.PropTags, fmt.Sprintf("tag%d", i%5))
		p = mq.AppendProperty(p, mq.PropUniqKey, fmt.Sprintf("AC1100010001%020X", i))
		p = mq.AppendProperty(p, mq.PropKeys, fmt.Sprintf("order-%d", i))
		out[i] = &mq.Message{Topic: "bench", QueueID: int32(i % 4), Body: b.Bytes(), Properties: p, BornTimeMillis: int64(i)}
	}
	return out
}

// BenchmarkConnector compares the connector's message bytes for each CPU
// second, from the hot log to the committed archive, with those of a bare
// FileWriter over the same records in memory, and its CPU a message with that of
// a topic whose schema makes columns of the bodies: of one field of the top, and
// of all of them.
func BenchmarkConnector(b *testing.B) {
	const n = 200_000
	dir := b.TempDir()
	log, err := hot.Open(dir+"/log", hot.Options{FS: vfs.Default, Broker: broker, MinFreeBytes: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	msgs := benchMessages(n)
	for i := 0; i < n; i += 500 {
		if _, err := log.Append(b.Context(), msgs[i:i+500]); err != nil {
			b.Fatal(err)
		}
	}
	if err := log.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	recs := map[int32][]mq.Record{}
	var raw int64
	for _, m := range msgs {
		rec := mq.Record(mq.AppendRecord(nil, m))
		rec.SetPlace(int64(len(recs[m.QueueID])), raw, time.Now().UnixMilli())
		recs[m.QueueID] = append(recs[m.QueueID], rec)
		raw += int64(len(rec))
	}
	for b.Loop() {
		bare := writeBare(b, recs)
		through := runThrough(b, log, dir, nil)
		one := runThrough(b, log, dir, benchSchema(b, `{"properties":{"order":{"type":"integer"}}}`))
		all := runThrough(b, log, dir, benchSchema(b, `{"properties":{"order":{"type":"integer"},"items":{"type":"array","items":{"type":"object",
			"properties":{"sku":{"type":"string"},"price":{"type":"integer"},"note":{"type":"string"}}}}}}`))
		b.ReportMetric(float64(raw)/1e6/bare, "bare-MB/cpu-s")
		b.ReportMetric(float64(raw)/1e6/through, "connector-MB/cpu-s")
		b.ReportMetric(100*bare/through, "percent")
		b.ReportMetric(1e6*through/n, "us/msg")
		b.ReportMetric(1e6*one/n, "us/msg-one-column")
		b.ReportMetric(1e6*all/n, "us/msg-all-columns")
	}
}

func writeBare(b *testing.B, recs map[int32][]mq.Record) (cpu float64) {
	began := cpuSeconds()
	for id, queue := range recs {
		w := archive.NewFileWriter(io.Discard, mq.Queue{Broker: broker, Topic: "bench", ID: id}, archive.FileOptions{})
		for _, r := range queue {
			if err := w.Add(r); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	return cpuSeconds() - began
}

// schemaOfAll is Schemas: one for every topic.
type schemaOfAll struct{ l *typed.Layout }

func (s schemaOfAll) Layout(string) *typed.Layout { return s.l }

func benchSchema(b *testing.B, doc string) Schemas {
	topic, _, err := typed.Topic{Name: "bench"}.Declare(typed.Declaration{Format: typed.JSON, Document: []byte(doc)}, typed.Table{})
	if err != nil {
		b.Fatal(err)
	}
	l, err := topic.Layout()
	if err != nil {
		b.Fatal(err)
	}
	return schemaOfAll{l}
}

func runThrough(b *testing.B, log *hot.Store, dir string, schemas Schemas) (cpu float64) {
	bucket, err := fs.New(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	a, err := archive.Open(b.Context(), bucket, archive.Options{})
	if err != nil {
		b.Fatal(err)
	}
	c, err := New(Config{Broker: broker, Dir: dir + "/tmp", Schemas: schemas}, log, a)
	if err != nil {
		b.Fatal(err)
	}
	began := cpuSeconds()
	ctx, cancel := context.WithCancel(b.Context())
	go func() { _ = c.Run(ctx) }()
	if err := c.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	cancel()
	<-c.done
	b.Logf("%d files, %d bytes", c.Status().Files, c.Status().Bytes)
	return cpuSeconds() - began
}
