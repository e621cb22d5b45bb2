package history

import (
	"errors"
	"strings"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/retention"
)

func (k *kept) lease(t *testing.T, at int64, ttl time.Duration) {
	t.Helper()
	l := retention.Lease{Name: "reader", Topic: "t", Positions: []retention.Position{{Broker: broker, Offset: at}}}
	if _, err := k.Leases().Set(t.Context(), l, ttl); err != nil {
		t.Fatal(err)
	}
}

// TestLeaseKeepsWhatItsReaderNeeds, as long as it is renewed, and moves with
// its reader.
func TestLeaseKeepsWhatItsReaderNeeds(t *testing.T) {
	k := newKept(t)
	k.rule(time.Millisecond)
	k.lease(t, 25, time.Minute)
	if k.apply(t); k.from(t) != 20 {
		t.Fatalf("range from %d", k.from(t))
	}
	k.restart()
	k.now = k.now.Add(50 * time.Second)
	to := []retention.Position{{Broker: broker, Offset: 40}}
	if _, err := k.Leases().Renew(t.Context(), "reader", time.Minute, to); err != nil {
		t.Fatal(err)
	}
	if k.pass(t, 50*time.Second); k.from(t) != 40 {
		t.Fatalf("renewed: range from %d", k.from(t))
	}
	if k.pass(t, 10*time.Second); k.from(t) != 100 {
		t.Errorf("after its end: range from %d", k.from(t))
	}
	if _, err := k.Leases().Renew(t.Context(), "reader", time.Minute, nil); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("renewed after its end: %v", err)
	}
	if _, err := k.Leases().Renew(t.Context(), "nobody", time.Minute, nil); !errors.Is(err, ErrNoLease) {
		t.Errorf("renewed none: %v", err)
	}
	objects := 0
	for o := range k.bucket.List(t.Context(), leasesPrefix) {
		objects++
		_ = o
	}
	if objects != 1 {
		t.Errorf("%d versions of a lease are kept", objects)
	}
	if k.pass(t, 30*24*time.Hour); len(k.Leases().Known()) != 0 {
		t.Errorf("%+v is never forgotten", k.Leases().Known())
	}
}

// TestLeaseBounds: above its bound a lease loses the oldest, and says so; it may
// not last for ever either.
func TestLeaseBounds(t *testing.T) {
	k := newKept(t)
	k.rule(time.Millisecond)
	file := k.table(t).Index().All()[0].Bytes
	k.Retainer.leases.cfg = LeaseConfig{MaxBytes: 4*file + 4*file/10, MaxAge: time.Hour}
	k.lease(t, 65, 100*time.Hour)
	alarm := func() string { return k.Leases().Known()[0].Alarm }
	if k.apply(t); k.from(t) != 60 || !strings.Contains(alarm(), "keeps") {
		t.Errorf("near its bound: range from %d, %q", k.from(t), alarm())
	}
	k.Retainer.leases.cfg.MaxBytes = 3*file + file/2
	if k.apply(t); k.from(t) != 70 || !strings.Contains(alarm(), "reached") {
		t.Errorf("at its bound: range from %d, %q", k.from(t), alarm())
	}
	if k.apply(t); k.Leases().Known()[0].Lost == 0 || !strings.Contains(alarm(), "lost") {
		t.Errorf("a pass later nobody is told that it lost something: %+v", k.Leases().Known()[0])
	}
	k.lease(t, 65, 100*time.Hour)
	if l := k.Leases().Known()[0]; l.Lost != 0 || l.Expires.Sub(l.Since) != time.Hour {
		t.Errorf("set anew: %+v", l)
	}
	k.Retainer.leases.cfg.MaxBytes = 0
	if k.pass(t, 50*time.Minute); k.from(t) != 70 || !strings.Contains(alarm(), "held for 50m") {
		t.Errorf("near its age: range from %d, %q", k.from(t), alarm())
	}
	if k.pass(t, 11*time.Minute); k.from(t) != 100 || !strings.Contains(alarm(), "longer") {
		t.Errorf("above its age: range from %d, %q", k.from(t), alarm())
	}
}

// TestLeasedSnapshotStays: the snapshot's files are there until the lease ends,
// through deletions and sweeps.
func TestLeasedSnapshotStays(t *testing.T) {
	k := newKept(t)
	snap := k.table(t).Snapshot().ID
	ctx := t.Context()
	l := retention.Lease{Name: "audit", Topic: "t", Snapshot: 42}
	if _, err := k.Leases().Set(ctx, l, time.Hour); !errors.Is(err, archive.ErrNoSnapshot) {
		t.Errorf("of no snapshot: %v", err)
	}
	l.Snapshot = snap
	if _, err := k.Leases().Set(ctx, l, 100*time.Hour); err != nil {
		t.Fatal(err)
	}
	k.rule(time.Millisecond)
	k.apply(t)
	k.policy = retention.Policy{}
	for range 3 {
		k.pass(t, 25*time.Hour)
	}
	if k.objects(t) != 10 || k.from(t) != 100 || k.table(t).Tags()["audit"] != snap {
		t.Errorf("%d objects, range from %d, tags %v", k.objects(t), k.from(t), k.table(t).Tags())
	}
	if kept := k.Leases().Known()[0].Kept; kept == 0 {
		t.Error("what it keeps is not said")
	}
	k.whole(t)
	if _, err := k.Leases().Release(ctx, "audit"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		k.pass(t, 25*time.Hour)
	}
	if k.objects(t) != 0 {
		t.Errorf("%d objects after its end", k.objects(t))
	}
}

// TestLeasedSnapshotOverItsBound loses its tag.
func TestLeasedSnapshotOverItsBound(t *testing.T) {
	k := newKept(t)
	l := retention.Lease{Name: "audit", Topic: "t", Snapshot: k.table(t).Snapshot().ID}
	if _, err := k.Leases().Set(t.Context(), l, 100*time.Hour); err != nil {
		t.Fatal(err)
	}
	k.Retainer.leases.cfg.MaxBytes = 1
	k.rule(time.Millisecond)
	k.apply(t)
	if tags := k.table(t).Tags(); len(tags) != 0 {
		t.Errorf("tags %v", tags)
	}
	if s := k.Leases().Known()[0]; s.Lost == 0 || s.Alarm == "" {
		t.Errorf("%+v", s)
	}
	if r, _ := k.table(t).Index().Range(keptQueue); r != (mq.Range{From: 100, To: 100}) {
		t.Errorf("%v", r)
	}
}
