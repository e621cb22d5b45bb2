package archive

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"varve/internal/mq"
	"varve/internal/mq/mqtest"
	"varve/internal/objstore/mem"
)

func init() { poisonReturned = true }

// borrower reads with lent bodies and gives each back once it has a copy.
type borrower struct {
	*Reader
	t *testing.T
}

func (b borrower) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	lim.Lend = true
	got, err := b.Reader.Read(ctx, q, at, lim)
	if err != nil && got.Free != nil {
		b.t.Errorf("Read(%v, %d): a body to give back beside %v", q, at, err)
	}
	own := got
	own.Body, own.Free = bytes.Clone(got.Body), nil
	for range 3 { // no other reader may touch this body
		if next, err := b.Reader.Read(ctx, q, at, lim); err == nil {
			next.Release()
		}
	}
	if !bytes.Equal(own.Body, got.Body) {
		b.t.Errorf("Read(%v, %d): the body changed before it was given back", q, at)
	}
	got.Release()
	return own, err
}

func TestReaderWithLentBodies(t *testing.T) {
	mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
		b := mem.New()
		a := storeMessages(t, b, in, mqtest.Broker, 100, FileOptions{RowGroupRows: 30})
		return borrower{NewReader(a, b, ReaderOptions{}), t}, in
	})
}

// TestLentBodies: a read that lends wants the body back, one that doesn't
// gives nothing to give back, and a body that outgrows the guess is whole.
func TestLentBodies(t *testing.T) {
	b := mem.New()
	var recs []mq.Record
	for off := range int64(200) {
		m, err := testRecord(testQueue, off).Decode()
		if err != nil {
			t.Fatal(err)
		}
		if off > 150 { // far above the mean
			m.Body = bytes.Repeat(fmt.Appendf(nil, "%d ", off), 5000)
		}
		recs = append(recs, mq.AppendRecord(nil, &m))
	}
	f := writeFile(t, b, testQueue, FileOptions{}, recs...)
	file, err := OpenFile(context.Background(), b, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   int64
		lend bool
	}{{0, true}, {0, false}, {160, true}} {
		got, err := file.Read(context.Background(), c.at, mq.Limit{Messages: 10, Lend: c.lend})
		if err != nil {
			t.Fatal(err)
		}
		if (got.Free != nil) != c.lend {
			t.Errorf("at %d, lend %v: gives back: %v", c.at, c.lend, got.Free != nil)
		}
		if want := bytes.Join(asBytes(recs[c.at:c.at+10]), nil); !bytes.Equal(got.Body, want) {
			t.Errorf("at %d: records differ", c.at)
		}
		got.Release()
	}
}
