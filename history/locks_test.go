package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/retention"
)

// newLocking is newKept over a bucket that keeps locks.
func newLocking(t *testing.T) (*kept, *mem.Bucket) {
	t.Helper()
	m := mem.NewLocking()
	k := &kept{bucket: objtest.NewFaulty(m), now: time.Now().Truncate(time.Second)}
	a := openArchive(t, k.bucket)
	store(t, a, broker, plain("t", 0, 100, k.now), 10)
	k.now = k.now.Add(100 * time.Second)
	k.node = newNode(t, a, nil)
	k.restart()
	return k, m
}

// locked gives the first offsets of the locked data files, in order.
func (k *kept) locked(t *testing.T) (out []int64) {
	t.Helper()
	for o, err := range k.bucket.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		on, err := k.bucket.Locked(t.Context(), o.Name)
		if err != nil {
			t.Fatal(err)
		}
		if on {
			f, ok := k.table(t).Index().File(o.Name)
			if !ok {
				f.Offsets.From = -1 // not in the table
			}
			out = append(out, f.Offsets.From)
		}
	}
	slices.Sort(out)
	return out
}

func (k *kept) marks(t *testing.T) (n int) {
	t.Helper()
	for _, err := range k.bucket.List(t.Context(), locksPrefix) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (k *kept) lockHeld(t *testing.T) {
	t.Helper()
	if err := k.LockHeld(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (k *kept) release(t *testing.T, name string) {
	t.Helper()
	if _, err := k.Holds().Release(t.Context(), name, retention.Release{Why: "closed"}); err != nil {
		t.Fatal(err)
	}
}

func (k *kept) wantLocked(t *testing.T, when string, want ...int64) {
	t.Helper()
	if got := k.locked(t); !slices.Equal(got, want) || k.marks(t) != len(want) {
		t.Errorf("%s: locked are the files from %v on, with %d marks, want %v; %+v", when, got, k.marks(t), want, k.Locks())
	}
}

// TestHeldFilesAreLocked, those that come later too, and no others; what no hold
// covers any more is unlocked, by a process that knows only the bucket too.
func TestHeldFilesAreLocked(t *testing.T) {
	k, _ := newLocking(t)
	k.lockHeld(t)
	if st := k.Locks(); st.State != LockUnknown {
		t.Errorf("without a hold: %+v", st)
	}
	k.hold(t, retention.Hold{Name: "key", Topic: "t", Keys: []string{"t-0-25"}})
	k.hold(t, retention.Hold{Name: "late", Topic: "t", From: k.now.Add(-15 * time.Second)})
	k.apply(t)
	k.wantLocked(t, "two holds", 20, 80, 90)
	if st := k.Locks(); st.State != LockOn || st.Locked != 3 || st.Missing != 0 || st.Error != "" {
		t.Errorf("%+v", st)
	}
	more := plain("t", 0, 110, k.now.Add(-100*time.Second))[100:]
	store(t, openArchive(t, k.bucket), broker, more, 10) // another process
	k.lockHeld(t)
	k.wantLocked(t, "a new file", 20, 80, 90, 100)
	k.release(t, "late")
	k.restart()
	k.apply(t)
	k.wantLocked(t, "one hold", 20)
	k.release(t, "key")
	k.apply(t)
	k.wantLocked(t, "no hold")
	k.bucket.Calls()
	k.lockHeld(t)
	for _, c := range k.bucket.Calls() {
		if c.Op == objtest.Locks || c.Name == locksPrefix {
			t.Errorf("with nothing to do: %+v", c)
		}
	}
}

// TestLocksFollowTheirRows: what takes a held file's place is locked, and the old
// file is unlocked before it is swept; somebody else's lock stays.
func TestLocksFollowTheirRows(t *testing.T) {
	k, m := newLocking(t)
	old := k.table(t).Index().All()
	foreign := old[9].Name
	if err := k.bucket.SetLock(t.Context(), foreign, true); err != nil {
		t.Fatal(err)
	}
	k.hold(t, retention.Hold{Name: "h", Topic: "t"})
	k.apply(t)
	if got := k.locked(t); len(got) != 10 || k.marks(t) != 9 {
		t.Fatalf("locked %v, %d marks", got, k.marks(t))
	}
	k.merge(t, "m", 3)
	merged := k.table(t).Index().All()[0]
	k.bucket.Add(objtest.Fault{Op: objtest.Lock, Name: merged.Name, Times: 1})
	if err := k.LockHeld(t.Context()); !errors.Is(err, objtest.ErrUnavailable) {
		t.Errorf("a lock that failed: %v", err)
	}
	if st := k.Locks(); st.Missing != 1 || !strings.Contains(st.Error, merged.Name) || len(k.locked(t)) != 10 {
		t.Errorf("%+v, locked %v", st, k.locked(t)) // the old ones stay locked until the new one is
	}
	k.lockHeld(t)
	if got := k.locked(t); !slices.Equal(got, []int64{0, 30, 40, 50, 60, 70, 80, 90}) {
		t.Errorf("locked %v", got)
	}
	for range 3 {
		k.pass(t, 25*time.Hour)
	}
	if k.objects(t) != 8 || len(m.Hidden()) != 0 {
		t.Errorf("%d objects, %q were deleted though locked", k.objects(t), m.Hidden())
	}
	k.release(t, "h")
	k.lockHeld(t)
	if got := k.locked(t); !slices.Equal(got, []int64{90}) || k.marks(t) != 0 {
		t.Errorf("somebody else's: locked %v, %d marks", got, k.marks(t))
	}
}

// TestLocksOfFilesOnTheirWayOut: a hold that comes while the objects wait for
// their end locks them, and they go once it is released.
func TestLocksOfFilesOnTheirWayOut(t *testing.T) {
	k, m := newLocking(t)
	k.rule(50 * time.Second)
	k.apply(t)
	k.hold(t, retention.Hold{Name: "late", Topic: "t"})
	if k.pass(t, time.Hour); len(k.locked(t)) != 10 || k.objects(t) != 10 {
		t.Errorf("locked %v, %d objects", k.locked(t), k.objects(t))
	}
	k.release(t, "late")
	k.pass(t, time.Minute)
	if k.pass(t, time.Hour); k.objects(t) != 0 || k.marks(t) != 0 || len(m.Hidden()) != 0 {
		t.Errorf("%d objects, %d marks, %q hidden", k.objects(t), k.marks(t), m.Hidden())
	}
}

// TestLocksRefused: the hold holds all the same, nothing else fails, and it is
// said what is missing. What can't be unlocked isn't deleted: it would only be
// hidden.
func TestLocksRefused(t *testing.T) {
	k, m := newLocking(t)
	k.rule(50 * time.Second)
	k.bucket.Add(objtest.Fault{Op: objtest.Lock, Err: objstore.ErrDenied})
	k.hold(t, retention.Hold{Name: "h", Topic: "t", Keys: []string{"t-0-25"}})
	k.apply(t)
	// The two files that go before it are kept as well: their keys are not asked.
	k.apply(t)
	if st := k.Locks(); st.State != LockOn || st.Missing != 3 || !strings.Contains(st.Error, "denied") || k.from(t) != 20 {
		t.Errorf("%+v, range from %d", st, k.from(t))
	}
	k.bucket.Clear()
	k.apply(t)
	if st := k.Locks(); st.Locked != 3 || st.Error != "" {
		t.Errorf("once it is allowed: %+v", st)
	}
	k.bucket.Add(objtest.Fault{Op: objtest.Unlock, Err: objstore.ErrDenied})
	k.release(t, "h")
	for range 3 {
		k.pass(t, time.Hour)
	}
	if st := k.Locks(); st.Error == "" || k.objects(t) != 3 || len(m.Hidden()) != 0 {
		t.Errorf("%+v, %d objects, %q hidden", st, k.objects(t), m.Hidden())
	}
	k.bucket.Clear()
	for range 2 {
		k.pass(t, time.Hour)
	}
	if k.objects(t) != 0 || k.marks(t) != 0 {
		t.Errorf("%d objects and %d marks in the end", k.objects(t), k.marks(t))
	}
	k.bucket.Add(objtest.Fault{Op: objtest.Locks, Err: objstore.ErrDenied})
	k.hold(t, retention.Hold{Name: "i", Topic: "t"})
	k.apply(t)
	if st := k.Locks(); st.State != LockUnknown || st.Error == "" {
		t.Errorf("it can't be asked: %+v", st)
	}
}

// TestBucketWithoutLocks: holds hold, and it is said that the bucket doesn't.
func TestBucketWithoutLocks(t *testing.T) {
	k := newKept(t)
	k.rule(time.Millisecond)
	k.hold(t, retention.Hold{Name: "h", Topic: "t"})
	k.apply(t)
	if st := k.Locks(); st.State != LockNone || st.Error != "" || k.from(t) != 0 || k.marks(t) != 0 {
		t.Errorf("%+v, range from %d", st, k.from(t))
	}
}

// TestLockKilled: the process ends at any request of locking and unlocking, or
// the store says that it did what it did not. The next pass mends it; nothing
// that is held is ever unlocked, and no lock of ours is forgotten.
func TestLockKilled(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 4
	}
	for _, f := range []objtest.Fault{
		{How: objtest.Before},
		{How: objtest.After},
		{How: objtest.Lie, Op: objtest.Put},
		{How: objtest.Lie, Op: objtest.Delete},
		{How: objtest.Lie, Op: objtest.Lock},
		{How: objtest.Lie, Op: objtest.Unlock},
	} {
		for dead := true; dead; f.Skip += step {
			dead = lockKilled(t, f)
		}
	}
}

// lockKilled reports whether the fault has hit.
func lockKilled(t *testing.T, f objtest.Fault) (dead bool) {
	t.Helper()
	k, m := newLocking(t)
	k.hold(t, retention.Hold{Name: "a", Topic: "t", To: k.now.Add(-75 * time.Second)})
	k.lockHeld(t)
	k.release(t, "a")
	k.hold(t, retention.Hold{Name: "b", Topic: "t", From: k.now.Add(-85 * time.Second), To: k.now.Add(-65 * time.Second)})
	f.Times, f.Err = 1, objstore.ErrDenied
	f.Wait = func(context.Context) error {
		dead = true
		return nil
	}
	k.bucket.Add(f)
	_ = k.LockHeld(t.Context())
	k.bucket.Clear()
	if !slices.Contains(k.locked(t), 20) {
		t.Errorf("%+v: what both holds cover is unlocked", f)
	}
	k.restart()
	k.lockHeld(t)
	k.lockHeld(t)
	k.wantLocked(t, fmt.Sprintf("%+v", f), 10, 20, 30)
	k.release(t, "b")
	k.lockHeld(t)
	k.wantLocked(t, fmt.Sprintf("released, %+v", f))
	if len(m.Hidden()) != 0 {
		t.Errorf("%+v: %q hidden", f, m.Hidden())
	}
	return dead
}

// TestLocksWithTwoProcesses: the locks of a hold that another process sets right
// after one ended come back with its next pass.
func TestLocksWithTwoProcesses(t *testing.T) {
	k, _ := newLocking(t)
	other := NewRetainer(RetainConfig{Every: -1, Now: func() time.Time { return k.now }}, k.node)
	k.hold(t, retention.Hold{Name: "a", Topic: "t", Keys: []string{"t-0-25"}})
	k.lockHeld(t)
	if err := other.LockHeld(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.release(t, "a")
	// It is asked for its hold between the decision and the unlocking.
	set := false
	k.bucket.Add(objtest.Fault{Op: objtest.List, Name: holdsPrefix, How: objtest.Slow, Skip: 1, Times: 1, Wait: func(ctx context.Context) error {
		set = true
		_, err := other.Holds().Set(ctx, retention.Hold{Name: "b", Why: "x", Topic: "t", Keys: []string{"t-0-25"}})
		return err
	}})
	k.lockHeld(t)
	if !set {
		t.Fatal("the holds were not asked again")
	}
	k.wantLocked(t, "set meanwhile", 20)
	// Somebody takes lock and mark off behind this process's back.
	name := k.table(t).Index().All()[2].Name
	if err := k.bucket.SetLock(t.Context(), name, false); err != nil {
		t.Fatal(err)
	}
	if err := k.bucket.Delete(t.Context(), locksPrefix+name+lockSuffix); err != nil {
		t.Fatal(err)
	}
	k.lockHeld(t)
	k.wantLocked(t, "taken off elsewhere", 20)
}
