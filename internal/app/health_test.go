package app

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"varve/hot"
	"varve/internal/mq"
	"varve/internal/obs"
)

// TestFailedLogIsNotReady fails a log's write and asks at once.
func TestFailedLogIsNotReady(t *testing.T) {
	var armed atomic.Bool
	broken := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(op.Path, ".log") && armed.Load() {
			return errors.New("the disk is gone")
		}
		return nil
	})
	s, err := hot.Open("/hot", hot.Options{FS: errorfs.Wrap(vfs.NewMem(), broken), Broker: "b", SegmentBytes: 1 << 20, MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := &Node{store: s, health: &obs.Health{}}
	n.watchLog()
	if ok, why := n.health.Ready(); !ok {
		t.Fatalf("not ready: %s", why)
	}
	armed.Store(true)
	if _, err := s.Append(t.Context(), []*mq.Message{{Topic: "t"}}); !errors.Is(err, hot.ErrFailed) {
		t.Fatalf("append: %v", err)
	}
	if ok, why := n.health.Ready(); ok || !strings.Contains(why, "takes no more messages") || !strings.Contains(why, "the disk is gone") {
		t.Errorf("ready %v: %s", ok, why)
	}
}

// TestFullDiskIsNotReady takes the room of a log's disk away and gives it back.
func TestFullDiskIsNotReady(t *testing.T) {
	mem := vfs.NewMem()
	s, err := hot.Open("/hot", hot.Options{FS: mem, Broker: "b", SegmentBytes: 1 << 20, MinFreeBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := &Node{store: s, health: &obs.Health{}}
	n.watchLog()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 63 << 20, TotalBytes: 1 << 30})
	if ok, why := n.health.Ready(); ok || !strings.Contains(why, "sends are refused") || !strings.Contains(why, "/hot has 66060288 bytes left") {
		t.Errorf("ready %v: %s", ok, why)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 65 << 20, TotalBytes: 1 << 30})
	if ok, why := n.health.Ready(); !ok {
		t.Errorf("not ready: %s", why)
	}
}
