package archive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/fs"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/proof"
)

// jsonRecords makes n messages with JSON-like bodies of about 1 KiB and the
// properties that a client sends.
func jsonRecords(n int) []mq.Record {
	rng := rand.New(rand.NewPCG(42, 1))
	words := []string{"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet"}
	recs := make([]mq.Record, n)
	for i := range recs {
		body := fmt.Appendf(nil, `{"order_id":"%016x","customer":%d,"items":[`, rng.Uint64(), rng.IntN(100000))
		for len(body) < 990 {
			body = fmt.Appendf(body, `{"sku":"%s-%06d","qty":%d,"price":%d.%02d,"note":"%s %s"},`,
				words[rng.IntN(10)], rng.IntN(1000000), rng.IntN(9)+1, rng.IntN(500), rng.IntN(100), words[rng.IntN(10)], words[rng.IntN(10)])
		}
		body = append(body[:len(body)-1], "]}"...)
		m := &mq.Message{
			Topic: testQueue.Topic, QueueID: testQueue.ID, QueueOffset: int64(i), PhysicalOffset: int64(i) * 1300,
			BornTimeMillis: 1_700_000_000_000 + int64(i)/50, StoreTimeMillis: 1_700_000_000_002 + int64(i)/50,
			BornHost:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 20)}), 40000),
			StoreHost: netip.MustParseAddrPort("127.0.0.1:10911"), Body: body,
		}
		p := mq.AppendProperty(nil, mq.PropUniqKey, fmt.Sprintf("7F0000010000%012X%08X", rng.Uint64()>>16, i))
		p = mq.AppendProperty(p, mq.PropKeys, fmt.Sprintf("order-%08d", rng.IntN(1<<26)))
		p = mq.AppendProperty(p, mq.PropTags, words[rng.IntN(5)])
		p = mq.AppendProperty(p, mq.PropWait, "true")
		p = mq.AppendProperty(p, mq.PropTraceOn, "true")
		p = mq.AppendProperty(p, mq.PropMsgRegion, "DefaultRegion")
		m.Properties = mq.AppendProperty(p, mq.PropCluster, "DefaultCluster")
		recs[i] = mq.AppendRecord(nil, m)
	}
	return recs
}

func totalBytes(recs []mq.Record) (n int64) {
	for _, r := range recs {
		n += int64(len(r))
	}
	return n
}

const benchRows = 32768

// bareRow is a message as a user of parquet-go would declare it.
type bareRow struct {
	Broker      string   `parquet:"broker,dict"`
	QueueID     int32    `parquet:"queue_id,delta"`
	QueueOffset int64    `parquet:"queue_offset,delta"`
	StoreTime   int64    `parquet:"store_time,delta,timestamp(microsecond)"`
	BornTime    int64    `parquet:"born_time,delta,timestamp(microsecond)"`
	MsgID       string   `parquet:"msg_id,plain"`
	Keys        []string `parquet:"keys,list"`
	Tag         *string  `parquet:"tag,optional,dict"`
	Properties  []bareKV `parquet:"properties,list"`
	Body        []byte   `parquet:"body,plain"`
	Reconsume   int32    `parquet:"reconsume_times,delta"`
	SysFlag     int32    `parquet:"sys_flag,delta"`
	Flag        int32    `parquet:"flag,delta"`
	BodyCRC     int32    `parquet:"body_crc,plain"`
	BornHost    string   `parquet:"born_host,dict"`
	StoreHost   string   `parquet:"store_host,dict"`
	Physical    int64    `parquet:"physical_offset,delta"`
	Prepared    int64    `parquet:"prepared_transaction_offset,delta"`
	Encoding    *string  `parquet:"body_encoding,optional,dict"`
}

type bareKV struct {
	Key   string `parquet:"key,dict"`
	Value string `parquet:"value,plain"`
}

func bareRows(recs []mq.Record) []bareRow {
	rows := make([]bareRow, len(recs))
	for i, r := range recs {
		m, err := r.Decode()
		if err != nil {
			panic(err)
		}
		tag := m.Tag()
		rows[i] = bareRow{
			Broker: "varve-a", QueueID: m.QueueID, QueueOffset: m.QueueOffset,
			StoreTime: micros(m.StoreTimeMillis), BornTime: micros(m.BornTimeMillis),
			MsgID: m.Property(mq.PropUniqKey), Keys: mq.Keys(m.Properties), Tag: &tag, Body: m.Body,
			SysFlag: m.SysFlag, Flag: m.Flag, BodyCRC: int32(mq.BodyCRC(m.Body)),
			BornHost: m.BornHost.String(), StoreHost: m.StoreHost.String(), Physical: m.PhysicalOffset,
		}
		for k, v := range mq.Properties(m.Properties) {
			rows[i].Properties = append(rows[i].Properties, bareKV{k, v})
		}
	}
	return rows
}

// cpuTime is the processor time that the process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWrite compares the archive's writer, which takes stored records,
// with a bare parquet-go GenericWriter over the same rows that stand in
// structs already. The two take turns, and processor time is what counts:
//
//	go test -run '^$' -bench Write -benchtime 10x ./internal/archive
func BenchmarkWrite(b *testing.B) {
	recs := jsonRecords(benchRows)
	rows := bareRows(recs)
	raw := totalBytes(recs)
	var blocks [][]byte
	for chunk := range slices.Chunk(recs, 256) {
		blocks = append(blocks, bytes.Join(asBytes(chunk), nil))
	}
	ours := NewFileWriter(io.Discard, testQueue, FileOptions{})
	bare := parquet.NewGenericWriter[bareRow](io.Discard, parquet.Compression(codec), parquet.PageBufferSize(pageBytes),
		parquet.DataPageStatistics(false), parquet.SkipPageBounds("body"), parquet.BloomFilters(
			parquet.SplitBlockFilter(bloomBitsPerKey, "msg_id"), parquet.SplitBlockFilter(bloomBitsPerKey, "keys", "list", "element")),
		parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending("queue_offset"))))
	var oursCPU, bareCPU time.Duration
	var size int64
	b.ReportAllocs()
	for b.Loop() {
		at := cpuTime(b)
		size = writeOurs(b, ours, blocks)
		mid := cpuTime(b)
		writeBare(b, bare, rows)
		oursCPU += mid - at
		bareCPU += cpuTime(b) - mid
	}
	mb := float64(raw) * float64(b.N) / 1e6
	b.ReportMetric(mb/oursCPU.Seconds(), "MB/cpu-s")
	b.ReportMetric(mb/bareCPU.Seconds(), "bare-MB/cpu-s")
	b.ReportMetric(bareCPU.Seconds()/oursCPU.Seconds(), "of-bare")
	b.ReportMetric(float64(size)/float64(raw), "out/raw")
}

// BenchmarkProof gives what a message costs a FileWriter, and what of that is the
// proof: its leaf, and the nodes above it.
//
//	go test -run '^$' -bench Proof -benchtime 10x ./internal/archive
func BenchmarkProof(b *testing.B) {
	recs := jsonRecords(benchRows)
	block := [][]byte{bytes.Join(asBytes(recs), nil)}
	w := NewFileWriter(io.Discard, testQueue, FileOptions{})
	var all, hashes time.Duration
	for b.Loop() {
		at := cpuTime(b)
		writeOurs(b, w, block)
		mid := cpuTime(b)
		var h proof.Hasher
		var tree proof.Builder
		for chunk := range slices.Chunk(recs, 64) {
			for _, r := range chunk {
				h.Add(r.Parts())
			}
			for i, leaf := range h.Leaves() {
				tree.Add(chunk[i].QueueOffset(), leaf)
			}
		}
		if len(tree.Parts()) != benchRows/proof.BlockLen {
			b.Fatal("not all blocks are there")
		}
		all, hashes = all+mid-at, hashes+cpuTime(b)-mid
	}
	n := float64(b.N * benchRows)
	b.ReportMetric(float64(all.Nanoseconds())/1e3/n, "us/msg")
	b.ReportMetric(float64(hashes.Nanoseconds())/1e3/n, "us/msg-proof")
}

func writeOurs(b *testing.B, w *FileWriter, blocks [][]byte) int64 {
	w.Reset(io.Discard, testQueue, 1)
	for _, block := range blocks {
		if err := w.AddAll(block); err != nil {
			b.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		b.Fatal(err)
	}
	return f.Bytes
}

func writeBare(b *testing.B, w *parquet.GenericWriter[bareRow], rows []bareRow) {
	w.Reset(io.Discard)
	for i := 0; i < len(rows); i += defaultRowGroupRows {
		for j := i; j < i+defaultRowGroupRows; j += batchRows {
			if _, err := w.Write(rows[j : j+batchRows]); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRead reads a file of 1 KiB messages from its start to its end in
// batches of the given number of messages.
func BenchmarkRead(b *testing.B) {
	bucket := mem.New()
	recs := jsonRecords(benchRows)
	f := writeFile(b, bucket, testQueue, FileOptions{}, recs...)
	for _, n := range []int{0, 32, 256} {
		b.Run(fmt.Sprintf("sequential/messages=%d", n), func(b *testing.B) {
			b.SetBytes(totalBytes(recs))
			b.ReportAllocs()
			start := cpuTime(b)
			for b.Loop() {
				file, err := OpenFile(context.Background(), bucket, f)
				if err != nil {
					b.Fatal(err)
				}
				for at := f.Offsets.From; at < f.Offsets.To; {
					batch, err := file.Read(context.Background(), at, mq.Limit{Messages: n, Bytes: 1 << 20})
					if err != nil {
						b.Fatal(err)
					}
					at = batch.Next
				}
			}
			b.ReportMetric(float64(b.N*benchRows)/(cpuTime(b)-start).Seconds(), "msg/cpu-s")
		})
	}
	b.Run("point", func(b *testing.B) {
		file, err := OpenFile(context.Background(), bucket, f)
		if err != nil {
			b.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 1))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := file.Read(context.Background(), rng.Int64N(benchRows), mq.Limit{Messages: 32}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCommit commits one small file after another to one table. What the
// commits around the 10th, the 100th, the 1,000th and the 10,000th cost, and
// what they ask of the bucket, must be the same.
//
//	go test -run '^$' -bench Commit -benchtime 10000x ./internal/archive
func BenchmarkCommit(b *testing.B) {
	dir, err := fs.New(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		bucket objstore.Bucket
	}{{"mem", mem.New()}, {"fs", dir}} {
		b.Run(c.name, func(b *testing.B) {
			counted := objtest.NewFaulty(c.bucket)
			tbl := createTable(b, openArchive(b, counted, Options{}), fmt.Sprint("t", b.N))
			q := mq.Queue{Broker: "varve-a", Topic: tbl.Topic()}
			took := make([]time.Duration, 0, b.N)
			calls := make([]int, 0, b.N)
			at := int64(0)
			for b.Loop() {
				b.StopTimer()
				f := fake(b, tbl, q, mq.Range{From: at, To: at + 1}, 1)
				b.StartTimer()
				counted.Calls()
				start := cpuTime(b)
				mustAppend(b, tbl, Commit{ID: f.Name, Broker: q.Broker, Epoch: 1, Files: []DataFile{f}})
				took = append(took, cpuTime(b)-start)
				calls = append(calls, len(counted.Calls()))
				at++
			}
			for _, n := range []int{10, 100, 1000, 10_000} {
				from, to := max(0, n-50), min(n+50, b.N)
				if from >= to {
					continue
				}
				var cpu time.Duration
				asked := 0
				for i := from; i < to; i++ {
					cpu, asked = cpu+took[i], asked+calls[i]
				}
				b.ReportMetric(float64(cpu.Microseconds())/float64(to-from), fmt.Sprintf("cpu-us@%d", n))
				b.ReportMetric(float64(asked)/float64(to-from), fmt.Sprintf("requests@%d", n))
			}
		})
	}
}

// BenchmarkMerge merges files of 1 KiB messages: large ones, whose row groups
// are copied, and small ones, which are decoded. Figures are of the files' own
// bytes, and of the stored records in them.
//
//	go test -run '^$' -bench Merge -benchtime 5x ./internal/archive
func BenchmarkMerge(b *testing.B) {
	for _, c := range []struct {
		name string
		rows int
	}{{"copied", defaultRowGroupRows}, {"encoded", 256}} {
		b.Run(c.name, func(b *testing.B) {
			dir, err := fs.New(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			var files []DataFile
			size, raw := int64(0), int64(0)
			recs := jsonRecords(2 * benchRows)
			for chunk := range slices.Chunk(recs, c.rows) {
				f := writeFile(b, dir, testQueue, FileOptions{}, chunk...)
				files, size, raw = append(files, f), size+f.Bytes, raw+f.RawBytes
			}
			spill := b.TempDir()
			var cpu, check time.Duration
			for b.Loop() {
				out, err := os.Create(filepath.Join(dir.Path(""), "merged"))
				if err != nil {
					b.Fatal(err)
				}
				at := cpuTime(b)
				m, err := MergeFiles(b.Context(), out, dir, files, MergeOptions{SpillDir: spill})
				if err != nil {
					b.Fatal(err)
				}
				mid := cpuTime(b)
				cpu += mid - at
				m.File.Name = "merged"
				if err := m.Check(b.Context(), dir); err != nil {
					b.Fatal(err)
				}
				check += cpuTime(b) - mid
				if err := out.Close(); err != nil {
					b.Fatal(err)
				}
			}
			n := float64(b.N) / 1e6
			b.ReportMetric(float64(size)*n/cpu.Seconds(), "file-MB/cpu-s")
			b.ReportMetric(float64(raw)*n/cpu.Seconds(), "raw-MB/cpu-s")
			b.ReportMetric(float64(size)*n/(cpu+check).Seconds(), "file-MB/cpu-s-checked")
			b.ReportMetric(float64(raw)*n/(cpu+check).Seconds(), "raw-MB/cpu-s-checked")
		})
	}
}

// BenchmarkPlan plans a read of one hour in a table of 10,000 files of 16
// queues, by time and by offset, as readers and queries do.
//
//	go test -run '^$' -bench Plan ./internal/archive
func BenchmarkPlan(b *testing.B) {
	x := NewIndex()
	var files []DataFile
	next := map[mq.Queue]int64{}
	for i := range 10_000 {
		q := mq.Queue{Broker: "varve-a", Topic: "t", ID: int32(i % 16)}
		r := mq.Range{From: next[q], To: next[q] + 1000}
		at := int64(i/16) * 600_000
		files = append(files, DataFile{Name: fmt.Sprint(i), Queue: q, Offsets: r, Rows: 1000, Bytes: 1 << 20, FirstStoreMillis: at, LastStoreMillis: at + 599_999})
		next[q] = r.To
	}
	x.Apply(files, nil, next, nil)
	b.ReportAllocs()
	found := 0
	for b.Loop() {
		found = 0
		for _, q := range x.Queues() {
			found += len(x.FilesByTime(q, 100*3_600_000, 101*3_600_000-1))
		}
	}
	b.ReportMetric(float64(found), "files")
}

// BenchmarkTypedAudit is an audit of a file with columns of every kind, without and
// with what compares them with the bodies.
func BenchmarkTypedAudit(b *testing.B) {
	bucket := mem.New()
	l := kindsLayout(b)
	f, _ := kindsFile(b, bucket, "", l, mq.Range{To: 50_000}, 0)
	for _, typed := range []bool{false, true} {
		b.Run(fmt.Sprint("typed=", typed), func(b *testing.B) {
			b.SetBytes(f.RawBytes)
			for b.Loop() {
				file, err := OpenFile(b.Context(), bucket, f)
				if err != nil {
					b.Fatal(err)
				}
				visit := func(*AuditedRow) error { return nil }
				if typed {
					a, err := file.NewTypedAudit(b.Context(), l, func(int64, string, string) { b.Error("a row differs") })
					if err != nil {
						b.Fatal(err)
					}
					visit = a.Row
					defer a.Close()
				}
				if err := file.Audit(b.Context(), visit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
