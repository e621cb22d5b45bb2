package broker

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/broker/pop"
)

// A group that is new on a full disk reads what is there; it is saved when
// there is room again.
func TestNewGroupOnFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	r := newRig(t, fs, nil)
	r.send(message("orders", 0, "a"))
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20})
	r.join(newClient(), "c1", "late", "orders", "*")
	p := <-r.pullAsync(inline("orders", 0, 0))
	if got := p.bodies(); len(got) != 1 || got[0] != "a" {
		t.Errorf("pull on a full disk: %v", p)
	}
	if err := r.save(); err == nil {
		t.Error("saving on a full disk gives no error")
	}
	if err := r.DeleteGroup("late", false); err != nil {
		t.Errorf("deleting a group that isn't saved: %v", err)
	}
	r.join(newClient(), "c2", "late", "orders", "*")
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30})
	r.stop()
	r = newRig(t, fs, nil)
	defer r.stop()
	if _, ok := r.Group("late"); !ok {
		t.Error("the group is gone")
	}
	if _, ok := r.topics.Get("%RETRY%late"); !ok {
		t.Error("the group's retry topic is gone")
	}
}

// A reset and a copy of offsets that a full disk refuses change nothing.
func TestResetOnFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	r := newRig(t, fs, nil)
	defer r.stop()
	r.send(message("orders", 0, "a"))
	for _, g := range []string{"pay", "ship"} {
		r.join(newClient(), g, g, "orders", "*")
	}
	if err := r.CommitOffset("pay", "orders", 0, 1); err != nil {
		t.Fatal(err)
	}
	if err := r.save(); err != nil {
		t.Fatal(err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20})
	if _, err := r.ResetOffset(t.Context(), &ResetRequest{Group: "pay", Topic: "orders", QueueID: -1, Offset: -1}); !errors.Is(err, ErrDiskFull) {
		t.Errorf("reset: %v", err)
	}
	if err := r.CloneOffsets("pay", "ship", ""); !errors.Is(err, ErrDiskFull) {
		t.Errorf("copy: %v", err)
	}
	if off, ok := r.offsets.Get("pay", "orders", 0); off != 1 || !ok {
		t.Errorf("the group is at %d, %v after a reset that was refused", off, ok)
	}
	if off, ok := r.offsets.Get("ship", "orders", 0); ok {
		t.Errorf("the other group is at %d after a copy that was refused", off)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30})
}

// A topic and a group whose deletion a full disk refuses are as before, and
// deleted with all that belongs to them when there is room again.
func TestDeletionOnFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	r := newRig(t, fs, nil)
	r.send(message("orders", 0, "a"))
	r.send(message("orders", 0, "b"))
	r.join(newClient(), "c1", "pay", "orders", "*")
	if err := r.CommitOffset("pay", "orders", 0, 1); err != nil {
		t.Fatal(err)
	}
	if got := r.pop(popReq("orders")).bodies(); len(got) != 2 {
		t.Fatalf("popped %v", got)
	}
	if err := r.save(); err != nil {
		t.Fatal(err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20})
	if err := r.DeleteTopic(t.Context(), "orders"); !errors.Is(err, ErrDiskFull) {
		t.Errorf("deleting the topic: %v", err)
	}
	for _, g := range []string{"pay", "g"} {
		if err := r.DeleteGroup(g, true); !errors.Is(err, ErrDiskFull) {
			t.Errorf("deleting group %s: %v", g, err)
		}
	}
	// What is behind the first write of a deletion may be what finds no room.
	every := func(pop.Key) bool { return true }
	if r.pops.Forget(every) == nil || r.offsets.DeleteTopic("orders") == nil {
		t.Error("a deletion that can't be saved is done")
	}
	if off, ok := r.offsets.Get("pay", "orders", 0); off != 1 || !ok {
		t.Errorf("the group is at %d, %v after a deletion that was refused", off, ok)
	}
	if n := r.pops.InFlight(); n != 2 {
		t.Errorf("%d messages are out after a deletion that was refused, want 2", n)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30})
	if _, err := r.topics.Delete("orders"); err != nil { // as where the rest found no room
		t.Fatal(err)
	}
	if err := r.DeleteTopic(t.Context(), "orders"); !errors.Is(err, ErrNoTopic) {
		t.Errorf("deleting the topic again: %v", err)
	}
	if _, ok := r.offsets.Get("pay", "orders", 0); ok || r.pops.InFlight() != 0 {
		t.Error("something of the topic is left")
	}
	r.stop()
}
