package history

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"varve/internal/archive"
	"varve/internal/objstore"
)

// Sweeping removes what nobody needs any more. An object goes when all of this
// holds:
//
//   - no snapshot that the table's metadata retains needs it, and a snapshot is
//     retained until Grace after the next one came;
//   - this process has known it to be unneeded for Grace, so that a reader who
//     holds a snapshot that a busy table dropped earlier is not cut short;
//   - no reader of this process has it pinned;
//   - a data file left the table before the eyes of this process, or is older
//     than Orphans: a young one may be about to be committed. Metadata must have
//     been unneeded for commitAge;
//   - its name is one that the archive's writers give.
//
// What this process knows of times is forgotten when it ends; then an object
// stays longer. A table that didn't change since it was swept costs two listings
// a week, for what was put there and never committed.

// commitAge is how long no commit takes from its first manifest on.
const commitAge = 15 * time.Minute

// lookAgain is how often a table that didn't change is looked through: an upload
// of a process that ended then changes nothing of it.
const lookAgain = 7 * 24 * time.Hour

// tableState is what a Retainer remembers of a table, by its root, so that a
// pass over a table with nothing to do costs no request.
type tableState struct {
	refreshAt time.Time
	// sweepAt is when the first objects of a deletion may be removed, known once
	// the records were read; zero for none.
	sweepAt time.Time
	read    bool

	fullAt   time.Time // the next look through the whole table
	lookedAt time.Time // the last one
	// swept is the version after which such a look left nothing to do.
	swept int64
	// unneeded are the objects that no snapshot needs, and since when.
	unneeded map[string]time.Time
}

// sweepCounts are figures since the start.
type sweepCounts struct{ objects, bytes, snapshots atomic.Int64 }

// SweepStatus is what a Retainer has removed since its start.
type SweepStatus struct {
	Objects   int64 `json:"objects"` // data files and metadata
	Bytes     int64 `json:"bytes"`   // of data files
	Snapshots int64 `json:"snapshots"`
}

// Swept tells what has been removed.
func (r *Retainer) Swept() SweepStatus {
	return SweepStatus{r.swept.objects.Load(), r.swept.bytes.Load(), r.swept.snapshots.Load()}
}

// refreshIn is how long to wait before other processes' commits are looked for
// again: less often the longer nothing happened, at most twice a day.
func refreshIn(t *archive.Table, now time.Time) time.Duration {
	idle := now.Sub(time.UnixMilli(t.Snapshot().TimeMillis))
	return min(max(idle/8, refreshEvery), 12*time.Hour)
}

// wait has the table swept at a time.
func (st *tableState) wait(until time.Time) {
	if st.sweepAt.IsZero() || until.Before(st.sweepAt) {
		st.sweepAt = until
	}
}

// sweep removes the objects of deletions whose grace is over and, when it is
// time for it, everything else that nobody needs.
func (r *Retainer) sweep(ctx context.Context, t *archive.Table, st *tableState, now time.Time) (removed int, err error) {
	full := !now.Before(st.fullAt) && (t.Snapshot().Version != st.swept || len(st.unneeded) > 0 || now.Sub(st.lookedAt) >= lookAgain)
	due := !st.read || !st.sweepAt.IsZero() && !now.Before(st.sweepAt)
	if !due && !full {
		return 0, nil
	}
	if err := r.archive.Check(ctx); err != nil {
		return 0, err
	}
	s := &sweeper{r: r, t: t, st: st, now: now, pending: map[string]bool{}, seen: map[string]bool{}}
	if err := s.deletions(ctx); err != nil || !full {
		return s.removed, err
	}
	st.fullAt, st.lookedAt = now.Add(r.cfg.Sweep), now
	err = s.rest(ctx)
	return s.removed, err
}

// sweeper is one pass over one table.
type sweeper struct {
	r       *Retainer
	t       *archive.Table
	st      *tableState
	now     time.Time
	pending map[string]bool // files of deletions that have not ended
	seen    map[string]bool // objects that nobody needs
	needed  map[string]bool // once expired
	removed int
}

// expire drops the snapshots whose grace is over, and finds out what the others
// need. It does so once.
func (s *sweeper) expire(ctx context.Context) (err error) {
	if s.needed != nil {
		return nil
	}
	before := s.t.Snapshots()
	if err := s.t.Expire(ctx, 1, s.now.Add(-s.r.cfg.Grace), s.keep); err != nil {
		return fmt.Errorf("expire snapshots: %w", err)
	}
	s.r.swept.snapshots.Add(int64(max(0, before-s.t.Snapshots())))
	if s.needed, err = s.t.Needed(ctx); err != nil {
		return err
	}
	return nil
}

// keep is asked about each object of metadata that nobody needs.
func (s *sweeper) keep(name string) bool {
	if s.r.pinned(name) || !s.ripe(name, s.now, max(s.r.cfg.Grace, commitAge)) {
		return true
	}
	s.r.swept.objects.Add(1)
	return false
}

// ripe notes that nobody needs an object, and reports whether that is so for
// long enough.
func (s *sweeper) ripe(name string, since time.Time, after time.Duration) bool {
	s.seen[name] = true
	first, known := s.st.unneeded[name]
	if !known {
		first = since
		s.st.unneeded[name] = first
	}
	return s.now.Sub(first) >= after
}

// deletions removes what the deletions let go whose grace is over.
func (s *sweeper) deletions(ctx context.Context) error {
	records, err := deletions(ctx, s.r.archive.Bucket(), s.t.Root(), false)
	if err != nil {
		return err
	}
	s.st.read, s.st.sweepAt = true, time.Time{}
	for i := range records {
		d := &records[i]
		for _, f := range d.Files {
			s.pending[f.Name] = true
		}
		if s.now.Before(d.RemoveAfter) {
			s.st.wait(d.RemoveAfter)
			continue
		}
		if err := s.expire(ctx); err != nil {
			return err
		}
		if err := s.remove(ctx, d); err != nil {
			return err
		}
		if d.Removed == nil {
			s.st.wait(s.now)
		}
	}
	return nil
}

// remove deletes the objects of one deletion and says so in its record. Files
// that the table still has were never deleted: the commit did not happen. Those
// that others took the place of were not either, and are nobody's any more.
func (s *sweeper) remove(ctx context.Context, d *Deletion) error {
	parts := map[string][]DeletedFile{}
	for _, f := range d.Files {
		parts[f.Name] = append(parts[f.Name], f)
	}
	names, held, kept := d.objects(), 0, 0
	for _, name := range names {
		switch {
		case slices.ContainsFunc(parts[name], func(f DeletedFile) bool { return inTable(s.t, f) }):
			kept++
			delete(s.pending, name)
			continue
		case s.r.pinned(name), s.needed[name], slices.ContainsFunc(parts[name], s.r.holds.coversDeleted), s.r.locks.keeps(name):
			held++
			continue
		}
		var size int64
		for _, f := range parts[name] {
			size += f.Bytes
		}
		if err := s.delete(ctx, name, size); err != nil {
			return fmt.Errorf("remove an object: %w", err)
		}
	}
	if held > 0 {
		return nil // the next pass looks again
	}
	return d.finish(ctx, s.r.archive.Bucket(), Removed{
		Version: 1, At: s.now.UTC(), Objects: len(names) - kept, Abandoned: kept == len(names),
	})
}

// inTable reports whether the table has rows of a file, under whatever name.
func inTable(t *archive.Table, f DeletedFile) bool {
	return len(t.Index().Files(f.Queue, f.Offsets)) > 0
}

func (s *sweeper) delete(ctx context.Context, name string, size int64) error {
	if err := s.r.archive.Bucket().Delete(ctx, name); err != nil {
		return err
	}
	s.t.Forget(name)
	delete(s.st.unneeded, name)
	s.removed++
	s.r.swept.objects.Add(1)
	s.r.swept.bytes.Add(size)
	return nil
}

// ownName is what the archive's writers call a data file: only such objects are
// removed, whatever else somebody put beside them.
var ownName = regexp.MustCompile(`/\d{20}-\d+-\d+-[0-9a-f]{8}\.parquet$`)

// rest looks through the whole table.
func (s *sweeper) rest(ctx context.Context) error {
	if err := s.expire(ctx); err != nil {
		return err
	}
	for o, err := range s.r.archive.Bucket().List(ctx, s.t.Root()+"/data/") {
		if err != nil {
			return fmt.Errorf("look for files that nobody needs: %w", err)
		}
		if s.needed[o.Name] || s.pending[o.Name] || !ownName.MatchString(o.Name) || !s.unneeded(o) || s.r.pinned(o.Name) || s.r.locks.keeps(o.Name) {
			continue
		}
		if err := s.delete(ctx, o.Name, o.Size); err != nil {
			return fmt.Errorf("remove a file that nobody needs: %w", err)
		}
	}
	for name := range s.st.unneeded {
		if !s.seen[name] {
			delete(s.st.unneeded, name) // somebody else removed it, or needs it again
		}
	}
	if s.t.Snapshots() <= 1 && len(s.seen) == 0 {
		s.st.swept = s.t.Snapshot().Version
	}
	if s.removed > 0 {
		s.r.cfg.Logger.Info("removed files that nobody needs", slog.String("topic", s.t.Topic()), slog.Int("objects", s.removed))
	}
	return nil
}

// unneeded reports whether an object that no retained snapshot needs may go.
func (s *sweeper) unneeded(o objstore.Object) bool {
	if at, ok := s.t.Departed(o.Name); ok {
		return s.ripe(o.Name, at, s.r.cfg.Grace)
	}
	ripe := s.ripe(o.Name, s.now, s.r.cfg.Grace)
	return ripe && s.now.Sub(o.Modified) >= s.r.cfg.Orphans
}
