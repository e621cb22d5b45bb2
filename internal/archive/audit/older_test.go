package audit

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
)

// TestOlderMetadata: the newest version with the content of an older one, and a
// table that was put back to an older version altogether.
func TestOlderMetadata(t *testing.T) {
	e := fill(t)
	first := e.audit(Options{})
	newest := e.tbl.MetadataName()
	version := e.tbl.Snapshot().Version
	older := strings.Replace(newest, fmt.Sprintf("v%d.", version), fmt.Sprintf("v%d.", version-1), 1)
	good := e.get(newest)
	e.put(newest, e.get(older), objstore.Always)
	rep := e.audit(Options{})
	if rep.OK || !strings.Contains(rep.Doubts[0].What, "says that it follows") {
		t.Errorf("%+v", rep.Doubts)
	}
	if err := e.b.Delete(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	e.put(e.tbl.Root()+"/metadata/version-hint.text", []byte(fmt.Sprint(version-1)), objstore.Always)
	rep = e.audit(Options{Since: first})
	if rep.OK || !strings.Contains(rep.Doubts[0].What, "the earlier report had") {
		t.Errorf("%+v", rep.Doubts)
	}
	rep = e.audit(Options{Now: func() time.Time { return time.Now().Add(strayAge + time.Hour) }})
	if rep.OK || !strings.Contains(rep.Doubts[0].What, "older than the archive was") {
		t.Errorf("%+v", rep.Doubts)
	}
	e.put(newest, good, objstore.Always)
	if rep := e.audit(Options{Since: first}); !rep.OK {
		t.Errorf("%+v", rep.Doubts)
	}
}

// TestWhatIsLeftOfANewerState: a table that was put back, of whose newer state
// something is still there.
func TestWhatIsLeftOfANewerState(t *testing.T) {
	version := func(e *env, n int64) string { return fmt.Sprintf("%s/metadata/v%d.metadata.json", e.tbl.Root(), n) }
	hint := func(e *env) string { return e.tbl.Root() + "/metadata/version-hint.text" }
	for name, c := range map[string]struct {
		want  string
		spoil func(e *env, newest int64)
	}{
		"the hint": {"the hint is of version", func(e *env, n int64) {
			e.delete(version(e, n))
		}},
		"a version that was passed over": {"went on at offset", func(e *env, n int64) {
			forged := strings.Replace(string(e.get(version(e, n-1))), version(e, n-2), version(e, n), 1)
			e.put(version(e, n+1), []byte(forged), objstore.IfAbsent)
			e.put(hint(e), []byte(fmt.Sprint(n+1)), objstore.Always)
		}},
		"a version far ahead": {"the one before it is not", func(e *env, n int64) {
			e.put(version(e, n+7), e.get(version(e, n)), objstore.IfAbsent)
		}},
		"a next version whose list is gone": {"behind the newest, can't be read", func(e *env, n int64) {
			forged := strings.ReplaceAll(string(e.get(version(e, n-2))), `.avro"`, `-gone.avro"`)
			e.put(version(e, n+1), []byte(forged), objstore.IfAbsent)
		}},
		"a raised mark": {"deletions took everything below", func(e *env, n int64) {
			queues := fmt.Sprintf(`"varve.removed-below":"{\"%s\":{\"0\":500}}",`, broker)
			forged := strings.ReplaceAll(string(e.get(version(e, n))), `"varve.next-offsets"`, queues+`"varve.next-offsets"`)
			e.put(version(e, n), []byte(forged), objstore.Always)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := fill(t)
			c.spoil(e, e.tbl.Snapshot().Version)
			rep := e.audit(Options{})
			if !slices.ContainsFunc(rep.Doubts, func(d Doubt) bool { return strings.Contains(d.What, c.want) }) {
				t.Errorf("%+v", rep.Doubts)
			}
		})
	}
}

// TestCommitsMeanwhile: versions that follow the one that was read, one by one,
// are no doubt.
func TestCommitsMeanwhile(t *testing.T) {
	e := fill(t)
	a, err := archive.OpenReadOnly(t.Context(), &meanwhile{Bucket: e.b, name: e.tbl.Root() + "/metadata/v", then: func() {
		e.commit(nil, e.file(queue(0), 12_000, 12_100))
		e.commit(nil, e.file(queue(0), 12_100, 12_200))
	}}, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rep, err := Run(t.Context(), a, Options{Keys: []ed25519.PublicKey{public}})
	if err != nil || !rep.OK || rep.Rows != 24_000 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestFilesThatGoMeanwhile: a file that was compacted away and swept before the
// audit came to it.
func TestFilesThatGoMeanwhile(t *testing.T) {
	e := fill(t)
	files := e.tbl.Index().Files(queue(0), mq.Range{From: 0, To: 9000})
	a, err := archive.OpenReadOnly(t.Context(), &meanwhile{Bucket: e.b, name: e.tbl.Root() + "/erasures/", then: func() {
		e.merge(files)
		for _, f := range files {
			e.delete(f.Name)
		}
	}}, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rep, err := Run(t.Context(), a, Options{Keys: []ed25519.PublicKey{public}})
	if err != nil || !rep.OK || rep.Rows != 24_000 || rep.Files != 6 || len(rep.Heads) != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// meanwhile is a bucket where something happens before a listing.
type meanwhile struct {
	objstore.Bucket
	name string
	then func()
}

func (m *meanwhile) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	if then := m.then; prefix == m.name && then != nil {
		m.then = nil
		then()
	}
	return m.Bucket.List(ctx, prefix)
}

// TestATableWithoutItsMarker is one that readers don't find.
func TestATableWithoutItsMarker(t *testing.T) {
	e := fill(t)
	for o := range e.b.List(t.Context(), "_varve/tables/") {
		e.delete(o.Name)
	}
	if d := e.one(e.audit(Options{}), "no marker"); d.File != e.tbl.Root() {
		t.Errorf("%+v", d)
	}
}
