package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

// benchMessages makes messages with JSON-like bodies of about 1 KiB.
func benchMessages(q mq.Queue, n int64) []mq.Message {
	rng := rand.New(rand.NewPCG(42, 1))
	words := []string{"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"}
	out := messages(q, 0, n)
	for i := range out {
		body := fmt.Appendf(nil, `{"order_id":"%016x","items":[`, rng.Uint64())
		for len(body) < 990 {
			body = fmt.Appendf(body, `{"sku":"%s-%06d","qty":%d,"price":%d.%02d,"note":"%s"},`, words[rng.IntN(8)], rng.IntN(1e6), rng.IntN(9)+1, rng.IntN(500), rng.IntN(100), words[rng.IntN(8)])
		}
		out[i].Body = append(body[:len(body)-1], "]}"...)
	}
	return out
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkVerify compares an audit with bare scans of the same file, by
// processor time: our own reader's, which gives records and reads but their
// columns, and parquet-go's, which gives every column's values. They take turns:
//
//	go test -run '^$' -bench Verify -benchtime 10x ./internal/archive/audit
func BenchmarkVerify(b *testing.B) {
	ctx := context.Background()
	bucket := mem.New()
	a, err := archive.Open(ctx, bucket, archive.Options{ProofKey: testKey})
	if err != nil {
		b.Fatal(err)
	}
	tbl, err := a.CreateTable(ctx, topic)
	if err != nil {
		b.Fatal(err)
	}
	q := queue(0)
	data, f := encodeAll(b, q, benchMessages(q, 40_000))
	f.Name = archive.FileName(q, tbl.Root(), 0, f.Rows, 1)
	if err := bucket.Put(ctx, f.Name, bytes.NewReader(data), f.Bytes, objstore.IfAbsent); err != nil {
		b.Fatal(err)
	}
	if _, err := tbl.Append(ctx, archive.Commit{ID: "1", Broker: broker, Epoch: 1, Files: []archive.DataFile{f}}); err != nil {
		b.Fatal(err)
	}
	var verify, records, columns time.Duration
	for b.Loop() {
		at := cpu(b)
		rep, err := Run(ctx, a, Options{Keys: []ed25519.PublicKey{public}})
		if err != nil || !rep.OK || rep.Proven != f.Rows {
			b.Fatal(rep, err)
		}
		mid := cpu(b)
		scanRecords(b, bucket, f)
		end := cpu(b)
		scanColumns(b, data)
		verify, records, columns = verify+mid-at, records+end-mid, columns+cpu(b)-end
	}
	mb := float64(f.RawBytes) * float64(b.N) / 1e6
	b.ReportMetric(mb/verify.Seconds(), "MB/cpu-s")
	b.ReportMetric(mb/records.Seconds(), "records-MB/cpu-s")
	b.ReportMetric(mb/columns.Seconds(), "columns-MB/cpu-s")
	b.ReportMetric(records.Seconds()/verify.Seconds(), "of-records")
	b.ReportMetric(columns.Seconds()/verify.Seconds(), "of-columns")
}

func scanRecords(b *testing.B, bucket objstore.Bucket, f archive.DataFile) {
	file, err := archive.OpenFile(context.Background(), bucket, f)
	if err != nil {
		b.Fatal(err)
	}
	for at := f.Offsets.From; at < f.Offsets.To; {
		batch, err := file.Read(context.Background(), at, mq.Limit{Bytes: 1 << 20, Lend: true})
		if err != nil {
			b.Fatal(err)
		}
		at = batch.Next
		if batch.Free != nil {
			batch.Free()
		}
	}
}

func scanColumns(b *testing.B, data []byte) {
	pf, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		b.Fatal(err)
	}
	values := make([]parquet.Value, 1024)
	for _, g := range pf.RowGroups() {
		for _, c := range g.ColumnChunks() {
			pages := c.Pages()
			for {
				p, err := pages.ReadPage()
				if err != nil {
					break
				}
				r := p.Values()
				for {
					if _, err := r.ReadValues(values); err != nil {
						break
					}
				}
				parquet.Release(p)
			}
			_ = pages.Close()
		}
	}
}
