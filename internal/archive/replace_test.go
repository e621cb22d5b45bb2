package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

// smallFiles commits n files of ten messages each and gives them.
func smallFiles(t testing.TB, tbl *Table, q mq.Queue, n int64) []DataFile {
	t.Helper()
	var out []DataFile
	for i := range n {
		f := fake(t, tbl, q, mq.Range{From: i * 10, To: i*10 + 10}, 1)
		mustAppend(t, tbl, Commit{ID: fmt.Sprint(q, i), Broker: q.Broker, Epoch: 1, Files: []DataFile{f}, NextPhysical: 1000, StoreTimeLow: 77})
		out = append(out, f)
	}
	return out
}

// merging puts one file in the place of others of a queue.
func merging(t testing.TB, tbl *Table, id string, old ...DataFile) Replacement {
	t.Helper()
	r := Replacement{ID: id, Op: ReplaceFiles, Reason: "test"}
	for _, f := range old {
		r.Old = append(r.Old, f.Name)
	}
	r.New = []DataFile{fake(t, tbl, old[0].Queue, mq.Range{From: old[0].Offsets.From, To: old[len(old)-1].Offsets.To}, 1)}
	return r
}

func TestReplace(t *testing.T) {
	ctx := t.Context()
	b := mem.New()
	tbl := createTable(t, openArchive(t, b, Options{}), "orders")
	q := testQueue
	old := smallFiles(t, tbl, q, 6)
	gap := Commit{ID: "g", Broker: q.Broker, Epoch: 4, Files: []DataFile{fake(t, tbl, q, mq.Range{From: 70, To: 80}, 4)}, Gaps: []Gap{{q, mq.Range{From: 60, To: 70}}}}
	before := mustAppend(t, tbl, gap)
	r := merging(t, tbl, "r", old[1:4]...)
	snap, err := tbl.Replace(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(snap.Next, snap.Epoch, snap.NextPhysical, snap.Gaps, snap.StoreTimeLow) != fmt.Sprint(before.Next, before.Epoch, before.NextPhysical, before.Gaps, before.StoreTimeLow) {
		t.Errorf("marks changed: %+v, were %+v", snap, before)
	}
	if again, err := tbl.Replace(ctx, r); err != nil || again.Version != snap.Version {
		t.Errorf("repeated: %v, %v", again.Version, err)
	}
	sum := tbl.current().meta.CurrentSnapshot().Summary
	if sum.Operation != "replace" || sum.Properties["total-data-files"] != "5" || sum.Properties["total-records"] != "70" || sum.Properties[sumReason] != "test" {
		t.Errorf("summary %+v", sum)
	}
	var parts []int64
	for _, f := range tbl.Index().All() {
		parts = append(parts, f.Parts)
	}
	if !slices.Equal(parts, []int64{0, 3, 0, 0, 0}) {
		t.Errorf("parts %v", parts)
	}
	merged := tbl.Index().All()[1]
	r2 := merging(t, tbl, "r2", old[0], merged)
	if _, err := tbl.Replace(ctx, r2); err != nil {
		t.Fatal(err)
	}
	if f := tbl.Index().All()[0]; f.Parts != 4 || f.Offsets != (mq.Range{To: 40}) {
		t.Errorf("merged twice: %+v", f)
	}
	if rng, _ := tbl.Index().Range(q); rng != (mq.Range{To: 80}) {
		t.Errorf("range %v", rng)
	}
	again, err := openArchive(t, b, Options{}).Table(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, tbl, again)
}

// TestRepeatedAppendAfterReplace: what was committed counts as committed,
// whatever file has it by now.
func TestRepeatedAppendAfterReplace(t *testing.T) {
	tbl := createTable(t, openArchive(t, mem.New(), Options{KeepSnapshots: 1}), "orders")
	q := testQueue
	old := smallFiles(t, tbl, q, 6)
	if _, err := tbl.Replace(t.Context(), merging(t, tbl, "r", old[1:4]...)); err != nil {
		t.Fatal(err)
	}
	at := tbl.Snapshot().Version
	for _, r := range []mq.Range{{From: 10, To: 20}, {From: 20, To: 40}, {From: 10, To: 40}, {From: 0, To: 10}, {From: 50, To: 60}} {
		if s := mustAppend(t, tbl, commitOf(fmt.Sprint(r), 1, fake(t, tbl, q, r, 1))); s.Version != at {
			t.Errorf("%v was committed again", r)
		}
	}
	for _, r := range []mq.Range{{From: 5, To: 20}, {From: 0, To: 20}, {From: 20, To: 45}, {From: 0, To: 60}, {From: 50, To: 61}, {From: 51, To: 60}} {
		if _, err := tbl.Append(t.Context(), commitOf(fmt.Sprint(r), 1, fake(t, tbl, q, r, 1))); !errors.Is(err, ErrOverlap) {
			t.Errorf("%v: %v", r, err)
		}
	}
}

func TestReplaceRefuses(t *testing.T) {
	tbl := createTable(t, openArchive(t, mem.New(), Options{}), "orders")
	q := testQueue
	old := smallFiles(t, tbl, q, 4)
	version := tbl.Snapshot().Version
	names := []string{old[1].Name, old[2].Name}
	other := q
	other.ID++
	lost := fake(t, tbl, q, mq.Range{From: 10, To: 30}, 1)
	lost.Bytes++
	for what, c := range map[string]struct {
		r    Replacement
		want error
	}{
		"less":          {Replacement{ID: "a", Op: ReplaceFiles, Old: names, New: []DataFile{fake(t, tbl, q, mq.Range{From: 10, To: 29}, 1)}}, errOtherOffsets},
		"more":          {Replacement{ID: "a", Op: ReplaceFiles, Old: names, New: []DataFile{fake(t, tbl, q, mq.Range{From: 10, To: 31}, 1)}}, errOtherOffsets},
		"other queue":   {Replacement{ID: "a", Op: ReplaceFiles, Old: names, New: []DataFile{fake(t, tbl, other, mq.Range{From: 10, To: 30}, 1)}}, errOtherOffsets},
		"another queue": {Replacement{ID: "a", Op: ReplaceFiles, Old: names, New: []DataFile{fake(t, tbl, q, mq.Range{From: 10, To: 30}, 1), fake(t, tbl, other, mq.Range{From: 10, To: 30}, 1)}}, errOtherOffsets},
		"overlap":       {Replacement{ID: "a", Op: ReplaceFiles, Old: names, New: []DataFile{fake(t, tbl, q, mq.Range{From: 10, To: 30}, 1), fake(t, tbl, q, mq.Range{From: 20, To: 30}, 1)}}, ErrOverlap},
		"unknown":       {Replacement{ID: "a", Op: ReplaceFiles, Old: []string{"default/orders/data/x"}, New: []DataFile{fake(t, tbl, q, mq.Range{From: 10, To: 30}, 1)}}, ErrReplaced},
		"not there":     {Replacement{ID: "a", Op: ReplaceFiles, Old: names, New: []DataFile{lost}}, ErrNoFile},
		"no id":         {Replacement{Op: ReplaceFiles, Old: names, New: []DataFile{fake(t, tbl, q, mq.Range{From: 10, To: 30}, 1)}}, nil},
		"no files":      {Replacement{ID: "a", Op: ReplaceFiles, Old: names}, nil},
		"operation":     {Replacement{ID: "a", Op: "append", Old: names, New: []DataFile{fake(t, tbl, q, mq.Range{From: 10, To: 30}, 1)}}, nil},
	} {
		_, err := tbl.Replace(t.Context(), c.r)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if v := tbl.Snapshot().Version; v != version || len(tbl.Index().All()) != 4 {
		t.Errorf("version %d, was %d", v, version)
	}
}

// TestReplaceRacesDelete: a retention takes a file between the replacement's
// look at the table and its put, so the replacement must not bring it back.
func TestReplaceRacesDelete(t *testing.T) {
	q := testQueue
	inner := mem.New()
	retention := createTable(t, openArchive(t, inner, Options{}), q.Topic)
	b := objtest.NewFaulty(inner)
	tbl := createTable(t, openArchive(t, b, Options{}), q.Topic)
	old := smallFiles(t, tbl, q, 4)
	r := merging(t, tbl, "r", old[:3]...)
	b.Add(objtest.Fault{Op: objtest.Put, Name: ".metadata.json", How: objtest.Slow, Times: 1, Wait: func(ctx context.Context) error {
		if _, err := retention.Refresh(ctx); err != nil {
			return err
		}
		_, err := retention.Delete(ctx, []string{old[0].Name}, "age")
		return err
	}})
	if _, err := tbl.Replace(t.Context(), r); !errors.Is(err, ErrReplaced) {
		t.Errorf("replace: %v", err)
	}
	if rng, _ := tbl.Index().Range(q); rng != (mq.Range{From: 10, To: 40}) {
		t.Errorf("range %v", rng)
	}
	checkSame(t, retention, tbl)
}

// TestReplaceUnderEveryFault: each request fails in each way, once; the
// replacement is repeated until it succeeds. It happens once, and nothing is
// lost.
func TestReplaceUnderEveryFault(t *testing.T) {
	q := testQueue
	for _, op := range []objtest.Op{objtest.Put, objtest.Head, objtest.Get, objtest.List, objtest.Delete} {
		for _, how := range []objtest.How{objtest.Before, objtest.After, objtest.Half, objtest.Lie, objtest.Spoil, objtest.Cut} {
			if how >= objtest.Lie && op != objtest.Put {
				continue
			}
			for skip := range 8 {
				t.Run(fmt.Sprintf("%s/%d/skip=%d", op, how, skip), func(t *testing.T) {
					inner := mem.New()
					b := objtest.NewFaulty(inner)
					tbl := createTable(t, openArchive(t, b, Options{MergeManifests: 3}), q.Topic)
					old := smallFiles(t, tbl, q, 5)
					r := merging(t, tbl, "r", old[1:4]...)
					b.Add(objtest.Fault{Op: op, How: how, Skip: skip, Times: 1})
					_, err := tbl.Replace(t.Context(), r)
					for i := 0; err != nil && i < 3; i++ {
						checkExactlyOnce(t, inner, q, 50)
						_, err = tbl.Replace(t.Context(), r)
					}
					if err != nil {
						t.Fatal(err)
					}
					b.Clear()
					mustAppend(t, tbl, commitOf("2", 1, fake(t, tbl, q, mq.Range{From: 50, To: 60}, 1)))
					if n := len(checkExactlyOnce(t, inner, q, 60).Index().All()); n != 4 {
						t.Errorf("%d files", n)
					}
				})
			}
		}
	}
}

// TestReplaceKilled: the process ends at any of its requests. Another one
// finds the old files or the new one, and can do the same again.
func TestReplaceKilled(t *testing.T) {
	q := testQueue
	for skip, dead := 0, true; dead; skip++ {
		inner := mem.New()
		b := objtest.NewFaulty(inner)
		tbl := createTable(t, openArchive(t, b, Options{MergeManifests: 3}), q.Topic)
		old := smallFiles(t, tbl, q, 5)
		r := merging(t, tbl, "r", old[1:4]...)
		b.Add(objtest.Fault{Skip: skip, Err: objstore.ErrDenied})
		_, err := tbl.Replace(t.Context(), r)
		if dead = err != nil; skip > 60 {
			t.Fatal("it never ends")
		}
		next := checkExactlyOnce(t, inner, q, 50)
		if n := len(next.Index().All()); n != 5 && n != 3 {
			t.Errorf("killed at request %d: %d files", skip, n)
		}
		again := r
		again.ID = "another process"
		if _, err := next.Replace(t.Context(), again); err != nil {
			t.Errorf("killed at request %d: %v", skip, err)
		}
		if n := len(checkExactlyOnce(t, inner, q, 50).Index().All()); n != 3 {
			t.Errorf("killed at request %d: %d files in the end", skip, n)
		}
	}
}

// TestReplaceRacesWriters: replacements and appends of several processes.
func TestReplaceRacesWriters(t *testing.T) {
	for _, kind := range []string{"mem", "fs"} {
		b := bucketOf(t, kind)
		q := testQueue
		open := func() *Table {
			return createTable(t, openArchive(t, b, Options{KeepSnapshots: 4, MergeManifests: 3, ManifestEntries: 7}), q.Topic)
		}
		first := open()
		old := smallFiles(t, first, q, 24)
		var wg sync.WaitGroup
		for w := range 3 {
			tbl := open()
			rs := []Replacement{}
			for i := w * 8; i < w*8+8; i += 4 {
				rs = append(rs, merging(t, tbl, fmt.Sprint(w, i), old[i:i+4]...))
			}
			wg.Go(func() {
				for _, r := range rs {
					if _, err := tbl.Replace(t.Context(), r); err != nil {
						t.Errorf("replace: %v", err)
					}
				}
			})
		}
		wg.Go(func() {
			for i := int64(24); i < 34; i++ {
				f := fake(t, first, q, mq.Range{From: i * 10, To: i*10 + 10}, 1)
				if _, err := first.Append(t.Context(), commitOf(fmt.Sprint("more", i), 1, f)); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
		wg.Wait()
		if n := len(checkExactlyOnce(t, b, q, 340).Index().All()); n != 16 {
			t.Errorf("%s: %d files", kind, n)
		}
	}
}
