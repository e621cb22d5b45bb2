package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"pgregory.net/rapid"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

var testQueue = mq.Queue{Broker: "varve-a", Topic: "orders", ID: 3}

// testRecord makes an ordinary message at a place.
func testRecord(q mq.Queue, off int64) mq.Record {
	m := &mq.Message{
		Topic: q.Topic, QueueID: q.ID, QueueOffset: off, PhysicalOffset: 1000 + off*300,
		Flag: int32(off % 3), BornTimeMillis: 1_700_000_000_000 + off, StoreTimeMillis: 1_700_000_000_005 + off/4,
		BornHost:  netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:4%03d", off%5, off%7)),
		StoreHost: netip.MustParseAddrPort("127.0.0.1:10911"),
		Body:      fmt.Appendf(nil, `{"order":%d,"amount":%d,"currency":"EUR"}`, off, off*off%977),
	}
	m.Properties = mq.AppendProperty(m.Properties, mq.PropUniqKey, fmt.Sprintf("7F00000100002A139F5512D4%08X", off))
	m.Properties = mq.AppendProperty(m.Properties, mq.PropKeys, fmt.Sprintf("k%d shared%d", off, off%100))
	m.Properties = mq.AppendProperty(m.Properties, mq.PropTags, []string{"TagA", "TagB", "TagC"}[off%3])
	m.Properties = mq.AppendProperty(m.Properties, "region", "eu-central")
	return mq.AppendRecord(nil, m)
}

func testRecords(q mq.Queue, r mq.Range) []mq.Record {
	var out []mq.Record
	for off := r.From; off < r.To; off++ {
		out = append(out, testRecord(q, off))
	}
	return out
}

// writeFile puts a data file of records into a bucket.
func writeFile(t testing.TB, b objstore.Bucket, q mq.Queue, o FileOptions, recs ...mq.Record) DataFile {
	t.Helper()
	var buf bytes.Buffer
	w := NewFileWriter(&buf, q, o)
	for _, r := range recs {
		if err := w.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	f.Name = FileName(q, "default/"+"t", f.Offsets.From, f.Rows, o.Epoch)
	if err := b.Put(context.Background(), f.Name, bytes.NewReader(buf.Bytes()), int64(buf.Len()), objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	return f
}

// readAll reads a file from its start in batches.
func readAll(t testing.TB, f *File, lim mq.Limit) []byte {
	t.Helper()
	var out []byte
	for at := f.data.Offsets.From; at < f.data.Offsets.To; {
		b, err := f.Read(context.Background(), at, lim)
		if err != nil {
			t.Fatal(err)
		}
		if b.Next <= at {
			t.Fatalf("read at %d gave no progress", at)
		}
		out, at = append(out, b.Body...), b.Next
	}
	return out
}

func TestFileRoundTrip(t *testing.T) {
	b := mem.New()
	recs := testRecords(testQueue, mq.Range{From: 100, To: 5100})
	f := writeFile(t, b, testQueue, FileOptions{Epoch: 7, RowGroupRows: 1000}, recs...)
	if f.Rows != 5000 || f.Offsets != (mq.Range{From: 100, To: 5100}) || f.Epoch != 7 {
		t.Errorf("stats: %+v", f)
	}
	file, err := OpenFile(context.Background(), b, f)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Join(slices.Collect(func(yield func([]byte) bool) {
		for _, r := range recs {
			if !yield(r) {
				return
			}
		}
	}), nil)
	for _, lim := range []mq.Limit{{}, {Messages: 1}, {Messages: 32}, {Bytes: 1}, {Bytes: 10_000}, {Scan: 7}} {
		if got := readAll(t, file, lim); !bytes.Equal(got, want) {
			t.Errorf("limit %+v: records differ", lim)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		at := 100 + rng.Int64N(5000)
		got, err := file.Read(context.Background(), at, mq.Limit{Messages: 3})
		if err != nil {
			t.Fatal(err)
		}
		if n := got.Next - at; n != int64(got.Count) || !bytes.HasPrefix(want[len(bytes.Join(asBytes(recs[:at-100]), nil)):], got.Body) {
			t.Fatalf("at %d: %d records, next %d", at, got.Count, got.Next)
		}
	}
	for at, want := range map[int64]error{99: mq.ErrTooLow, 5101: mq.ErrTooHigh} {
		if _, err := file.Read(context.Background(), at, mq.Limit{}); !errors.Is(err, want) {
			t.Errorf("read at %d: %v", at, err)
		}
	}
	if got, err := file.Read(context.Background(), 5100, mq.Limit{}); err != nil || got.Count != 0 || got.Next != 5100 {
		t.Errorf("read at the end: %+v, %v", got, err)
	}
}

func asBytes(recs []mq.Record) [][]byte {
	out := make([][]byte, len(recs))
	for i, r := range recs {
		out[i] = r
	}
	return out
}

// oddProperties draws property bytes of every kind: well formed, without the
// last separator, with a name twice, with malformed pairs, with bytes that
// are no text, and pure noise.
func oddProperties(t *rapid.T) []byte {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{"TAGS", "KEYS", "UNIQ_KEY", "a", "", "x y", "\xff\xfe", "ключ", "\x01", "a\x01b"}),
		rapid.StringN(0, 12, 40))
	var out []byte
	for range rapid.IntRange(0, 40).Draw(t, "pairs") {
		out = append(out, piece.Draw(t, "key")...)
		if rapid.IntRange(0, 9).Draw(t, "malformed") > 0 {
			out = append(out, 1)
		}
		out = append(out, piece.Draw(t, "value")...)
		out = append(out, 2)
	}
	switch rapid.IntRange(0, 3).Draw(t, "end") {
	case 0:
		out = bytes.TrimSuffix(out, []byte{2})
	case 1:
		out = append(out, 2)
	}
	if len(out) > mq.MaxPropertiesLen {
		out = out[:mq.MaxPropertiesLen]
	}
	return out
}

func drawRecord(t *rapid.T, q mq.Queue, off int64) mq.Record {
	host := rapid.SampledFrom([]string{"1.2.3.4:5", "[2001:db8::1]:65535", "0.0.0.0:0", "[::]:1", "255.255.255.255:10911"})
	odd := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, -1, math.MaxInt64, math.MinInt64, maxMillis, minMillis, maxMillis + 1}))
	m := &mq.Message{
		Topic: q.Topic, QueueID: q.ID, QueueOffset: off,
		PhysicalOffset: odd.Draw(t, "physical"), Flag: rapid.Int32().Draw(t, "flag"),
		SysFlag:        rapid.Int32().Draw(t, "sys") &^ mq.SysCompressed,
		BornTimeMillis: odd.Draw(t, "born"), StoreTimeMillis: odd.Draw(t, "store"),
		BornHost:                  netip.MustParseAddrPort(host.Draw(t, "born host")),
		StoreHost:                 netip.MustParseAddrPort(host.Draw(t, "store host")),
		ReconsumeTimes:            rapid.Int32().Draw(t, "times"),
		PreparedTransactionOffset: odd.Draw(t, "prepared"),
		Body:                      rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body"),
		Properties:                oddProperties(t),
	}
	r := mq.Record(mq.AppendRecord(nil, m))
	if rapid.Bool().Draw(t, "wrong crc") {
		r.SetBodyCRC(rapid.Uint32().Draw(t, "crc"))
	}
	if rapid.IntRange(0, 5).Draw(t, "odd port") == 0 {
		h := r.BornHost()
		binary.BigEndian.PutUint32(h[len(h)-4:], rapid.Uint32().Draw(t, "port"))
		if len(h) == 20 && rapid.Bool().Draw(t, "mapped") {
			copy(h, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4})
		}
	}
	return r
}

// TestRecordsComeBackIdentical is the archive's promise: whatever stands in a
// record, the bytes read are the bytes written.
func TestRecordsComeBackIdentical(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		from := rapid.Int64Range(0, 1<<40).Draw(rt, "from")
		var recs []mq.Record
		for i := range rapid.IntRange(1, 30).Draw(rt, "rows") {
			recs = append(recs, drawRecord(rt, testQueue, from+int64(i)))
		}
		b := mem.New()
		o := FileOptions{RowGroupRows: rapid.IntRange(1, 40).Draw(rt, "group")}
		f := writeFile(t, b, testQueue, o, recs...)
		file, err := OpenFile(context.Background(), b, f)
		if err != nil {
			rt.Fatal(err)
		}
		lim := mq.Limit{Messages: rapid.IntRange(0, 5).Draw(rt, "messages")}
		got := readAll(t, file, lim)
		if want := bytes.Join(asBytes(recs), nil); !bytes.Equal(got, want) {
			rt.Fatalf("got  %x\nwant %x", got, want)
		}
	})
}

func TestLargeAndEmptyBodies(t *testing.T) {
	b := mem.New()
	var recs []mq.Record
	for i, n := range []int{mq.MaxBodyLen, 0, 1, mq.MaxBodyLen - 1, 0} {
		m := &mq.Message{Topic: testQueue.Topic, QueueID: 3, QueueOffset: int64(i), Body: bytes.Repeat([]byte{byte(i)}, n)}
		if i == 3 {
			m.Properties = bytes.Repeat([]byte("k\x01v\x02"), mq.MaxPropertiesLen/4)
		}
		recs = append(recs, mq.AppendRecord(nil, m))
	}
	f := writeFile(t, b, testQueue, FileOptions{RowGroupBytes: 1 << 20}, recs...)
	file, err := OpenFile(context.Background(), b, f)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, file, mq.Limit{}); !bytes.Equal(got, bytes.Join(asBytes(recs), nil)) {
		t.Error("records differ")
	}
}

// Statistics in page headers would hold the smallest and the largest body
// again, and other readers refuse headers of that length.
func TestABodyIsInItsFileOnce(t *testing.T) {
	body := make([]byte, mq.MaxBodyLen)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range body {
		body[i] = byte(rng.Uint32())
	}
	m := &mq.Message{Topic: testQueue.Topic, QueueID: testQueue.ID, Body: body}
	f := writeFile(t, mem.New(), testQueue, FileOptions{}, mq.AppendRecord(nil, m))
	if limit := int64(len(body) + 64<<10); f.Bytes > limit {
		t.Fatalf("a file of one body of %d bytes has %d bytes, want at most %d", len(body), f.Bytes, limit)
	}
}

func TestZeroRows(t *testing.T) {
	var buf bytes.Buffer
	f, err := NewFileWriter(&buf, testQueue, FileOptions{}).Close()
	if err != nil || f.Rows != 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	b := mem.New()
	f.Name = "x"
	if err := b.Put(context.Background(), "x", &buf, f.Bytes, objstore.Always); err != nil {
		t.Fatal(err)
	}
	file, err := OpenFile(context.Background(), b, f)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := file.Read(context.Background(), 0, mq.Limit{}); err != nil || got.Count != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func compressed(t *testing.T, kind string, body []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var err error
	switch kind {
	case encodingZlib:
		w := zlib.NewWriter(&buf)
		_, err = w.Write(body)
		err = errors.Join(err, w.Close())
	case encodingLZ4:
		w := lz4.NewWriter(&buf)
		_, err = w.Write(body)
		err = errors.Join(err, w.Close())
	case encodingZstd:
		var w *zstd.Encoder
		w, err = zstd.NewWriter(&buf)
		if err == nil {
			_, err = w.Write(body)
			err = errors.Join(err, w.Close())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestCompressedBodiesAreInflated(t *testing.T) {
	long := []byte(strings.Repeat("all of it in clear. ", 500))
	bits := map[string]int32{encodingZlib: 0x300, encodingLZ4: 0x100, encodingZstd: 0x200}
	var recs, want []mq.Record
	add := func(sys int32, given, served []byte, servedSys int32) {
		off := int64(len(recs))
		m := &mq.Message{Topic: testQueue.Topic, QueueID: 3, QueueOffset: off, SysFlag: sys, Body: given, Properties: []byte("A\x01b")}
		recs = append(recs, mq.AppendRecord(nil, m))
		m.Body, m.SysFlag = served, servedSys
		want = append(want, mq.AppendRecord(nil, m))
	}
	for range 2 { // decoders are used again
		for _, kind := range []string{encodingZlib, encodingLZ4, encodingZstd} {
			add(mq.SysCompressed|mq.SysMultiTags|bits[kind], compressed(t, kind, long), long, mq.SysMultiTags)
		}
	}
	add(mq.SysCompressed, compressed(t, encodingZlib, long), long, 0)
	add(mq.SysCompressed|0x100, []byte("not lz4"), []byte("not lz4"), mq.SysCompressed|0x100)
	add(mq.SysCompressed|0x700, []byte("unknown"), []byte("unknown"), mq.SysCompressed|0x700)
	bomb := compressed(t, encodingZstd, make([]byte, mq.MaxBodyLen+1))
	add(mq.SysCompressed|0x200, bomb, bomb, mq.SysCompressed|0x200)
	most := make([]byte, mq.MaxBodyLen)
	add(mq.SysCompressed|0x200, compressed(t, encodingZstd, most), most, 0)

	b := mem.New()
	file, err := OpenFile(context.Background(), b, writeFile(t, b, testQueue, FileOptions{}, recs...))
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Collect(mq.Records(readAll(t, file, mq.Limit{})))
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("record %d: sys %x, body of %d bytes; want sys %x, %d bytes", i, got[i].SysFlag(), len(got[i].Body()), want[i].SysFlag(), len(want[i].Body()))
		}
		if err := got[i].Check(true); err != nil {
			t.Errorf("record %d: %v", i, err)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	other := testQueue
	other.ID = 4
	w := NewFileWriter(&bytes.Buffer{}, testQueue, FileOptions{})
	if err := w.Add(testRecord(testQueue, 5)); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]mq.Record{
		"gap": testRecord(testQueue, 7), "repeat": testRecord(testQueue, 5), "other queue": testRecord(other, 6),
		"cut off": testRecord(testQueue, 6)[:80],
	} {
		if err := w.Add(r); !errors.Is(err, mq.ErrBadRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.Add(testRecord(testQueue, 6)); err != nil {
		t.Error("a refused record changed the writer:", err)
	}
	if f, err := w.Close(); err != nil || f.Rows != 2 {
		t.Errorf("%+v, %v", f, err)
	}
	if err := w.Add(testRecord(testQueue, 7)); !errors.Is(err, errClosed) {
		t.Errorf("add after close: %v", err)
	}
}

// TestAddAll: blocks of records make the same file as single ones.
func TestAddAll(t *testing.T) {
	recs := testRecords(testQueue, mq.Range{From: 7, To: 3007})
	var single, blocks bytes.Buffer
	a, b := NewFileWriter(&single, testQueue, FileOptions{RowGroupRows: 1000}), NewFileWriter(&blocks, testQueue, FileOptions{RowGroupRows: 1000})
	for _, r := range recs {
		if err := a.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	all := asBytes(recs)
	for i := 0; i < len(all); {
		n := min(1+i*7%400, len(all)-i)
		if i%3 == 0 {
			if err := b.Add(recs[i]); err != nil {
				t.Fatal(err)
			}
			n = 1
		} else if err := b.AddAll(bytes.Join(all[i:i+n], nil)); err != nil {
			t.Fatal(err)
		}
		i += n
	}
	bad := bytes.Join([][]byte{testRecord(testQueue, 3007), testRecord(testQueue, 3009)}, nil)
	if err := b.AddAll(bad); !errors.Is(err, mq.ErrBadRecord) {
		t.Errorf("a gap in a block: %v", err)
	}
	if err := a.Add(testRecord(testQueue, 3007)); err != nil {
		t.Fatal(err)
	}
	x, err1 := a.Close()
	y, err2 := b.Close()
	if err1 != nil || err2 != nil || x.Rows != 3001 || x.Rows != y.Rows || x.RawBytes != y.RawBytes || x.Offsets != y.Offsets {
		t.Fatalf("%+v, %v\n%+v, %v", x, err1, y, err2)
	}
	m := mem.New()
	for name, f := range map[string]*bytes.Buffer{"x": &single, "y": &blocks} {
		if err := m.Put(context.Background(), name, f, int64(f.Len()), objstore.Always); err != nil {
			t.Fatal(err)
		}
	}
	x.Name, y.Name = "x", "y"
	fx, err1 := OpenFile(context.Background(), m, x)
	fy, err2 := OpenFile(context.Background(), m, y)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readAll(t, fx, mq.Limit{}), readAll(t, fy, mq.Limit{})) {
		t.Error("records differ")
	}
}

type onlyTag struct{ hash int64 }

func (o onlyTag) MatchTag(h int64) bool        { return h == o.hash }
func (o onlyTag) MatchRecord(r mq.Record) bool { return r.QueueOffset()%2 == 0 }

func TestFilteredRead(t *testing.T) {
	b := mem.New()
	recs := testRecords(testQueue, mq.Range{From: 0, To: 999})
	file, err := OpenFile(context.Background(), b, writeFile(t, b, testQueue, FileOptions{RowGroupRows: 300}, recs...))
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for _, r := range recs {
		if r.QueueOffset()%3 == 1 && r.QueueOffset()%2 == 0 {
			want = append(want, r...)
		}
	}
	for _, lim := range []mq.Limit{{}, {Messages: 5}, {Scan: 10}, {Bytes: 900}} {
		lim.Filter = onlyTag{mq.TagHash("TagB")}
		if got := readAll(t, file, lim); !bytes.Equal(got, want) {
			t.Errorf("limit %+v: records differ", lim)
		}
	}
}
