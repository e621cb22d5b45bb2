package hot

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
	"varve/internal/mq/mqtest"
)

// stored appends the suite's messages at their own store times.
func stored(t *testing.T, o Options, dir string, in []mq.Message, reopen bool) (*Store, []mq.Message) {
	t.Helper()
	var now atomic.Int64
	o.Broker = mqtest.Broker
	o.Now = func() time.Time { return time.UnixMilli(now.Load()) }
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range in {
		now.Store(in[i].StoreTimeMillis)
		p, err := s.Append(t.Context(), []*mq.Message{&in[i]})
		if err != nil {
			t.Fatal(err)
		}
		in[i].QueueOffset, in[i].PhysicalOffset, in[i].StoreTimeMillis = p[0].QueueOffset, p[0].PhysicalOffset, p[0].StoreTimeMillis
		if reopen && i%400 == 399 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(dir, o); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, in
}

func TestReader(t *testing.T) {
	for name, o := range map[string]Options{
		"memory":   {FS: vfs.NewMem()},
		"sync":     {FS: vfs.NewMem(), Flush: FlushSync},
		"segments": {FS: vfs.NewMem(), SegmentBytes: 64 << 10},
		"disk":     {SegmentBytes: 256 << 10},
	} {
		for _, reopen := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				dir := t.TempDir()
				mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
					return stored(t, o, dir, in, reopen)
				})
			})
		}
	}
}

// The suite again after every index entry has left memory.
func TestReaderAfterCheckpoint(t *testing.T) {
	mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) {
		s, out := stored(t, Options{FS: vfs.NewMem(), SegmentBytes: 64 << 10}, "/hot", in, false)
		if err := s.checkpoint(); err != nil {
			t.Fatal(err)
		}
		return s, out
	})
}
