package archive

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/fs"
	"varve/internal/objstore/mem"
)

// update writes testdata/v1 anew. Only a format that was never released may be
// rewritten; a new version gets a folder of its own, and the old one stays.
var update = flag.Bool("update", false, "write the golden files")

const goldenDir = "testdata/v1"

// goldenMessages are one of each kind: ordinary, empty, odd, compressed, IPv6.
func goldenMessages() []mq.Message {
	base := mq.Message{
		Topic: "golden", QueueID: 2, BornTimeMillis: 1_750_000_000_000, StoreTimeMillis: 1_750_000_000_007,
		BornHost: netip.MustParseAddrPort("192.0.2.7:40001"), StoreHost: netip.MustParseAddrPort("192.0.2.1:10911"),
	}
	var out []mq.Message
	add := func(change func(*mq.Message)) {
		m := base
		m.QueueOffset = 40 + int64(len(out))
		m.PhysicalOffset = 9000 + 512*int64(len(out))
		m.StoreTimeMillis += int64(len(out))
		change(&m)
		out = append(out, m)
	}
	add(func(m *mq.Message) {
		m.Body = []byte(`{"order":1,"city":"Köln"}`)
		m.Properties = []byte("UNIQ_KEY\x01C0000207000000000000000000000001\x02KEYS\x01k1 k2\x02TAGS\x01red\x02z\x01last\x02a\x01first\x02")
		m.Flag, m.ReconsumeTimes, m.PreparedTransactionOffset = 5, 3, 77
	})
	add(func(*mq.Message) {}) // no body, no properties
	add(func(m *mq.Message) { m.Properties = []byte("open\x01end") })
	add(func(m *mq.Message) {
		m.Properties = []byte("twice\x011\x02twice\x012\x02malformed\x02\xff\x01\xfe\x02")
	})
	add(func(m *mq.Message) {
		m.BornHost, m.StoreHost = netip.MustParseAddrPort("[2001:db8::7]:1"), netip.MustParseAddrPort("[2001:db8::1]:10911")
		m.BornTimeMillis = -1 << 63
		m.Body = []byte{0, 1, 2, 255}
	})
	zlibBody, _ := hex.DecodeString("789ccb48cdc9c95748cb2fca4d040019b5044a") // "hello forma" in zlib
	add(func(m *mq.Message) {
		m.SysFlag = mq.SysCompressed | 0x300
		m.Body = zlibBody
	})
	return out
}

// TestGolden reads what version 1 wrote when it was made.
func TestGolden(t *testing.T) {
	ctx := context.Background()
	q := mq.Queue{Broker: "varve-a", Topic: "golden", ID: 2}
	if *update {
		writeGolden(t, q)
	}
	want, err := os.ReadFile(filepath.Join(goldenDir, "records.hex"))
	if err != nil {
		t.Fatal(err)
	}
	b := mem.New()
	copyTree(t, filepath.Join(goldenDir, "archive"), b)
	a := openArchive(t, b, Options{})
	tbl, err := a.Table(ctx, "golden")
	if err != nil {
		t.Fatal(err)
	}
	s := tbl.Snapshot()
	if s.Next[q] != 46 || s.Epoch["varve-a"] != 3 || s.NextPhysical["varve-a"] != 12_000 || s.StoreTimeLow != 1_750_000_000_012 || s.CommitID != "golden-2" {
		t.Errorf("snapshot %+v", s)
	}
	r := NewReader(a, b, ReaderOptions{})
	var got []byte
	for at := int64(40); at < 46; {
		batch, err := r.Read(ctx, q, at, mq.Limit{})
		if err != nil {
			t.Fatal(err)
		}
		got, at = append(got, batch.Body...), batch.Next
	}
	if hexLines(got) != string(want) {
		t.Errorf("records:\n%s\nwant\n%s", hexLines(got), want)
	}
}

func hexLines(records []byte) string {
	var s strings.Builder
	for r := range mq.Records(records) {
		s.WriteString(hex.EncodeToString(r) + "\n")
	}
	return s.String()
}

// copyTree puts the files of a folder into a bucket.
func copyTree(t *testing.T, dir string, b objstore.Bucket) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return b.Put(context.Background(), filepath.ToSlash(name), bytes.NewReader(data), int64(len(data)), objstore.IfAbsent)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func writeGolden(t *testing.T, q mq.Queue) {
	if err := os.RemoveAll(goldenDir); err != nil {
		t.Fatal(err)
	}
	b := mem.New()
	tbl := createTable(t, openArchive(t, b, Options{}), q.Topic)
	if err := tbl.Fence(context.Background(), q.Broker, 3); err != nil {
		t.Fatal(err)
	}
	msgs := goldenMessages()
	for i, part := range [][]mq.Message{msgs[:4], msgs[4:]} {
		var buf bytes.Buffer
		w := NewFileWriter(&buf, q, FileOptions{Epoch: 3, RowGroupRows: 3})
		for j := range part {
			if err := w.Add(mq.AppendRecord(nil, &part[j])); err != nil {
				t.Fatal(err)
			}
		}
		f, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		f.Name = FileName(q, tbl.Root(), f.Offsets.From, f.Rows, 3)
		if err := b.Put(context.Background(), f.Name, &buf, f.Bytes, objstore.IfAbsent); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, tbl, Commit{
			ID: []string{"golden-1", "golden-2"}[i], Broker: q.Broker, Epoch: 3, Files: []DataFile{f},
			NextPhysical: int64(11_000 + 1000*i), StoreTimeLow: f.LastStoreMillis,
		})
	}
	out, err := fs.New(filepath.Join(goldenDir, "archive"))
	if err != nil {
		t.Fatal(err)
	}
	for o := range b.List(context.Background(), "") {
		data, err := getObject(context.Background(), b, o.Name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(out.Path(o.Name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out.Path(o.Name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(out.Path(".tmp")); err != nil {
		t.Fatal(err)
	}
	var recs []byte
	for off := int64(40); off < 46; {
		batch, err := NewReader(openArchive(t, b, Options{}), b, ReaderOptions{}).Read(context.Background(), q, off, mq.Limit{})
		if err != nil {
			t.Fatal(err)
		}
		recs, off = append(recs, batch.Body...), batch.Next
	}
	for i, r := range mqRecords(recs) {
		if want := mq.AppendRecord(nil, &msgs[i]); i < 5 && !bytes.Equal(r, want) {
			t.Errorf("record %d differs", i)
		}
	}
	if err := os.WriteFile(filepath.Join(goldenDir, "records.hex"), []byte(hexLines(recs)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mqRecords(b []byte) []mq.Record {
	var out []mq.Record
	for r := range mq.Records(b) {
		out = append(out, r)
	}
	return out
}
