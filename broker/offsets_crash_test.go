package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/meta"
)

// A power cut that takes messages which were consumed already takes the group's
// progress back too: the messages that get their offsets are for the group.
func TestProgressIsNotBeyondTheLogAfterAPowerCut(t *testing.T) {
	fs := vfs.NewCrashableMem()
	log, err := hot.Open("log", hot.Options{
		FS: fs, Broker: defaultBroker, StoreHost: testHost, MinFreeBytes: -1, FlushInterval: time.Hour, CheckpointEvery: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	m, err := meta.Open("meta", fs)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cfg := DefaultConfig()
	cfg.StoreHost = testHost
	b, err := New(cfg, Deps{Log: log, Meta: m})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Broker: b, t: t, log: log, meta: m}
	r.join(newClient(), "c", "g", "t", "*")
	for i := range 5 {
		r.send(message("t", 0, fmt.Sprint("kept ", i)))
	}
	if err := log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		r.send(message("t", 0, fmt.Sprint("lost ", i)))
	}
	r.send(message("t", 1, "lost"))
	for queue, off := range map[int32]int64{0: 10, 1: 1, 2: 0} {
		if err := b.CommitOffset("g", "t", queue, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.offsets.Flush(); err != nil {
		t.Fatal(err)
	}

	cut := fs.CrashClone(vfs.CrashCloneCfg{})
	for range 2 {
		r = newRig(t, cut, nil)
		for queue, want := range map[int32]int64{0: 5, 1: 0, 2: 0} {
			if off, err := r.QueryOffset(t.Context(), "g", "t", queue, false); err != nil || off != want {
				t.Errorf("queue %d: progress %d, %v, want %d", queue, off, err, want)
			}
		}
		again := cut.CrashClone(vfs.CrashCloneCfg{}) // it is durable before anybody sends
		if got := r.send(message("t", 0, "new")); got.QueueOffset != 5 {
			t.Errorf("the next message has offset %d", got.QueueOffset)
		}
		r.stop()
		cut = again
	}
}
