package history

import (
	"context"
	"errors"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/retention"
)

const leaseLong = 1000 * time.Hour

// leasing is a queue of three files, with the snapshots before and behind the
// last of them.
func leasing(t *testing.T) (k *kept, first, second int64) {
	t.Helper()
	k = &kept{bucket: objtest.NewFaulty(mem.New()), now: time.Now().Truncate(time.Second)}
	a := openArchive(t, k.bucket)
	msgs := plain("t", 0, 30, k.now)
	store(t, a, broker, msgs[:20], 10)
	k.now = k.now.Add(100 * time.Second)
	k.node = newNode(t, a, nil)
	k.restart()
	first = k.table(t).Snapshot().ID
	store(t, a, broker, msgs[20:], 10)
	return k, first, k.table(t).Snapshot().ID
}

func (k *kept) leaseSnapshot(ctx context.Context, id int64) error {
	_, err := k.Leases().Set(ctx, retention.Lease{Name: "audit", Topic: "t", Snapshot: id}, leaseLong)
	return err
}

// TestSnapshotLeaseKilled: the process ends at any request of setting, moving,
// renewing and releasing the lease of a snapshot. What the lease says then is
// there, through deletions and sweeps; what was answered is so.
func TestSnapshotLeaseKilled(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 4
	}
	for what, c := range map[string]struct {
		before bool
		do     func(ctx context.Context, k *kept, first, second int64) error
		done   func(retention.Lease, int64, int64) bool
	}{
		"set": {
			false, func(ctx context.Context, k *kept, first, _ int64) error { return k.leaseSnapshot(ctx, first) },
			func(l retention.Lease, first, _ int64) bool { return l.Snapshot == first },
		},
		"move": {
			true, func(ctx context.Context, k *kept, _, second int64) error { return k.leaseSnapshot(ctx, second) },
			func(l retention.Lease, _, second int64) bool { return l.Snapshot == second },
		},
		"renew": {true, func(ctx context.Context, k *kept, _, _ int64) error {
			_, err := k.Leases().Renew(ctx, "audit", leaseLong, nil)
			return err
		}, func(l retention.Lease, first, _ int64) bool { return l.Snapshot == first }},
		"release": {true, func(ctx context.Context, k *kept, _, _ int64) error {
			_, err := k.Leases().Release(ctx, "audit")
			return err
		}, func(l retention.Lease, _, _ int64) bool { return !l.Released.IsZero() }},
	} {
		for _, how := range []objtest.How{objtest.Before, objtest.After} {
			for skip, dead := 0, true; dead; skip += step {
				k, first, second := leasing(t)
				if c.before {
					if err := k.leaseSnapshot(t.Context(), first); err != nil {
						t.Fatal(err)
					}
				}
				k.bucket.Add(objtest.Fault{Skip: skip, How: how, Err: objstore.ErrDenied})
				err := c.do(t.Context(), k, first, second)
				dead = err != nil
				k.bucket.Clear()
				l := k.afterwards(t)
				if !dead && !c.done(l, first, second) {
					t.Errorf("%s: answered, and the lease is %+v", what, l)
				}
				if t.Failed() {
					t.Fatalf("%s, killed at request %d (%v)", what, skip, err)
				}
			}
		}
	}
}

// afterwards is a new process that deletes all it may, and gives the lease: what
// it says is kept, and without it nothing is.
func (k *kept) afterwards(t *testing.T) retention.Lease {
	t.Helper()
	k.restart()
	k.rule(time.Millisecond)
	k.apply(t)
	k.policy = retention.Policy{}
	for range 3 {
		k.pass(t, 25*time.Hour)
	}
	k.whole(t)
	l := k.Leases().ledger.get("audit").value
	tags := k.table(t).Tags()
	if l.State(k.now, 0) == retention.LeaseHolds {
		if tags["audit"] != l.Snapshot || k.objects(t) == 0 {
			t.Errorf("the lease says snapshot %d, tags are %v, with %d objects", l.Snapshot, tags, k.objects(t))
		}
	} else if len(tags) > 0 || k.objects(t) > 0 {
		t.Errorf("without a lease: tags %v, %d objects", tags, k.objects(t))
	}
	return l
}

// TestLeasedSnapshotAndBusyTable: a table that drops its oldest snapshots with
// its commits keeps a leased one, also where both come at once.
func TestLeasedSnapshotAndBusyTable(t *testing.T) {
	for _, tagFirst := range []bool{true, false} {
		k := &kept{bucket: objtest.NewFaulty(mem.New()), now: time.Now().Truncate(time.Second)}
		busy := func() *archive.Archive {
			a, err := archive.Open(t.Context(), k.bucket, archive.Options{KeepSnapshots: 2})
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		writer := busy()
		msgs := plain("t", 0, 100, k.now)
		store(t, writer, broker, msgs[:30], 10)
		k.node = newNode(t, busy(), nil)
		k.restart()
		snap := k.table(t).Snapshot().ID
		var err error
		if tagFirst {
			// The commit that would drop it is at its last step when the tag comes.
			k.bucket.Add(objtest.Fault{Op: objtest.Put, Name: ".metadata.json", How: objtest.Slow, Skip: 3, Times: 1, Wait: func(ctx context.Context) error {
				err = k.leaseSnapshot(ctx, snap)
				return nil
			}})
			store(t, writer, broker, msgs[30:], 10)
		} else {
			store(t, writer, broker, msgs[30:], 10)
			err = k.leaseSnapshot(t.Context(), snap)
		}
		tbl, terr := openArchive(t, k.bucket).Table(t.Context(), "t")
		if terr != nil {
			t.Fatal(terr)
		}
		switch {
		case err == nil && tbl.Tags()["audit"] != snap:
			t.Errorf("leased, and the tags are %v", tbl.Tags())
		case err != nil && !errors.Is(err, archive.ErrNoSnapshot):
			t.Error(err)
		case tagFirst && err != nil:
			t.Errorf("it was there when it was leased: %v", err)
		case !tagFirst && err == nil:
			t.Error("a snapshot that was dropped was leased")
		}
		k.whole(t)
	}
}

// TestLapsedLease: what a reader sees whose lease ended before it was through:
// its heartbeat is refused, its place is below the queue's range, its snapshot
// and the files of it are gone.
func TestLapsedLease(t *testing.T) {
	k, first, _ := leasing(t)
	ctx := t.Context()
	files := k.table(t).Index().All()
	k.lease(t, 5, time.Minute)
	if _, err := k.Leases().Set(ctx, retention.Lease{Name: "audit", Topic: "t", Snapshot: first}, time.Minute); err != nil {
		t.Fatal(err)
	}
	k.rule(time.Millisecond)
	k.apply(t)
	if b, err := k.node.Read(ctx, keptQueue, 5, mq.Limit{}); err != nil || b.Count == 0 {
		t.Fatalf("leased: %+v, %v", b, err)
	}
	for range 4 {
		k.pass(t, 25*time.Hour)
	}
	for _, name := range []string{"reader", "audit"} {
		if _, err := k.Leases().Renew(ctx, name, time.Minute, nil); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("renew %s: %v", name, err)
		}
	}
	if _, err := k.node.Read(ctx, keptQueue, 5, mq.Limit{}); !errors.Is(err, mq.ErrTooLow) {
		t.Errorf("read: %v", err)
	}
	if err := k.leaseSnapshot(ctx, first); !errors.Is(err, archive.ErrNoSnapshot) {
		t.Errorf("leased again: %v", err)
	}
	if _, err := archive.OpenFile(ctx, k.bucket, files[0]); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("a file of the snapshot: %v", err)
	}
}

// TestTagTakenAway: a lease gets its tag back that somebody removed, and says so
// where the snapshot has gone.
func TestTagTakenAway(t *testing.T) {
	k, first, _ := leasing(t)
	if err := k.leaseSnapshot(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := k.table(t).Untag(t.Context(), "audit"); err != nil {
		t.Fatal(err)
	}
	k.afterwards(t)
	if err := k.table(t).Untag(t.Context(), "audit"); err != nil {
		t.Fatal(err)
	}
	if err := k.table(t).Expire(t.Context(), 1, k.now.Add(time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	k.apply(t)
	if s := k.Leases().Known()[0]; s.Alarm == "" {
		t.Errorf("%+v", s)
	}
}
