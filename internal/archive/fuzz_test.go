package archive

import (
	"bytes"
	"context"
	"testing"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

// FuzzFile reads data files with damage anywhere: whatever the bytes are, the
// reader gives records or an error.
//
//	go test -run '^$' -fuzz FuzzFile -fuzztime 20s ./internal/archive
func FuzzFile(f *testing.F) {
	var buf bytes.Buffer
	w := NewFileWriter(&buf, testQueue, FileOptions{RowGroupRows: 20})
	for _, r := range testRecords(testQueue, mq.Range{From: 0, To: 50}) {
		if err := w.Add(r); err != nil {
			f.Fatal(err)
		}
	}
	d, err := w.Close()
	if err != nil {
		f.Fatal(err)
	}
	d.Name = "file"
	good := buf.Bytes()
	f.Add(uint32(len(good)-100), byte(1), uint32(0))
	f.Add(uint32(10), byte(0xff), uint32(len(good)-9))
	f.Add(uint32(len(good)-8), byte(7), uint32(len(good)/2))
	f.Fuzz(func(t *testing.T, at uint32, flip byte, at2 uint32) {
		data := bytes.Clone(good)
		data[int(at)%len(data)] ^= flip
		data[int(at2)%len(data)] ^= flip
		b := mem.New()
		if err := b.Put(context.Background(), d.Name, bytes.NewReader(data), d.Bytes, objstore.Always); err != nil {
			t.Fatal(err)
		}
		file, err := OpenFile(context.Background(), b, d)
		if err != nil {
			return
		}
		for next := d.Offsets.From; next < d.Offsets.To; {
			batch, err := file.Read(context.Background(), next, mq.Limit{})
			if err != nil {
				break
			}
			if batch.Next <= next {
				t.Fatalf("no progress at %d", next)
			}
			next = batch.Next
		}
		_, _ = file.FindKey(context.Background(), mq.KeyQuery{Key: "k7"})
		_, _ = file.FindPhysical(context.Background(), 1000)
		_, _, _ = file.OffsetAt(context.Background(), 1_700_000_000_006, mq.Lower)
	})
}
