package compact

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/objtest"
	"varve/internal/typed"
)

// newQuiet is a table of quiet queues on the day after.
func newQuiet(t *testing.T, queues int32, files int) *stand {
	t.Helper()
	s := newStand(t, 0, 0)
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)
	s.now = noon
	for id := range queues {
		q := queue
		q.ID = id
		for range files {
			s.commit(t, q, 5)
		}
	}
	s.now = noon.Add(14*time.Hour + 10*time.Minute) // two hours into the next day, and settled
	return s
}

// shared gives how many files and objects a table has.
func shared(tbl *archive.Table) (files, objects int) {
	all := tbl.Index().All()
	return len(all), len(archive.Objects(all))
}

// TestShare: a day's small files become one object once the day is over for long
// enough, and not before; what comes late waits.
func TestShare(t *testing.T) {
	s := newQuiet(t, 5, 3)
	due := s.now
	s.now = due.Add(-time.Minute)
	if s.Look(t.Context()); s.Status().Merges != 0 {
		t.Errorf("too early: %+v", s.Status())
	}
	s.now = due
	s.cfg.Together = func(queues []mq.Queue) bool { return len(queues) != 5 }
	s.Look(t.Context())
	if f, o := shared(s.check(t)); f != 5 || o != 5 {
		t.Fatalf("retention parts them: %d files, %d objects", f, o)
	}
	s = newQuiet(t, 5, 3)
	s.Look(t.Context())
	if f, o := shared(s.check(t)); f != 5 || o != 1 {
		t.Fatalf("%d files, %d objects: %+v", f, o, s.Status())
	}
	if st := s.Status(); st.Merges != 1 || st.FilesIn != 15 || st.Failures != 0 || st.EncodedRows != 75 {
		t.Errorf("%+v", st)
	}
	s.now = due.Add(-10 * time.Hour) // latecomers of that day
	for id := range int32(2) {
		q := queue
		q.ID = id
		s.commit(t, q, 5)
	}
	s.now = due.Add(time.Hour)
	s.Look(t.Context())
	if f, o := shared(s.check(t)); f != 7 || o != 3 {
		t.Errorf("latecomers at once: %d files, %d objects", f, o)
	}
	s.now = due.Add(24 * time.Hour)
	s.Look(t.Context())
	if f, o := shared(s.check(t)); f != 7 || o != 2 {
		t.Errorf("latecomers: %d files, %d objects: %+v", f, o, s.Status())
	}
	if st, err := s.Compact(t.Context(), ""); err != nil || st.Merges != 0 {
		t.Errorf("nothing to do: %+v, %v", st, err)
	}
}

// TestShareOfASchema: files with typed columns share objects too, those of one
// version of the schema each.
func TestShareOfASchema(t *testing.T) {
	topic, layouts := typed.Topic{Name: queue.Topic}, []*typed.Layout(nil)
	for _, doc := range []string{`{"properties":{"n":{"type":"integer"}}}`, `{"properties":{"n":{"type":"integer"},"s":{"type":"string"}}}`} {
		var err error
		var l *typed.Layout
		if topic, _, err = topic.Declare(typed.Declaration{Format: typed.JSON, Document: []byte(doc)}, typed.Table{}); err == nil {
			l, err = topic.Layout()
		}
		if err != nil {
			t.Fatal(err)
		}
		layouts = append(layouts, l)
	}
	s := newStand(t, 0, 0)
	s.now = time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)
	for _, l := range layouts {
		if err := s.table.Evolve(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		s.typed = l
		for id := range int32(5) {
			q := queue
			q.ID = id
			s.commit(t, q, 5)
			s.commit(t, q, 5)
		}
	}
	s.now = s.now.Add(14*time.Hour + 10*time.Minute)
	s.Look(t.Context())
	tbl := s.check(t)
	if f, o := shared(tbl); f != 10 || o != 2 || s.Status().Failures != 0 {
		t.Fatalf("%d files, %d objects: %+v", f, o, s.Status())
	}
	for _, f := range tbl.Index().All() {
		file, err := archive.OpenFile(t.Context(), s.bucket, f)
		if err != nil {
			t.Fatal(err)
		}
		if have, err := file.TypedColumns(); err != nil || f.Schema < 1 || !typed.SameColumns(have, layouts[f.Schema-1].Columns) {
			t.Errorf("%v has the columns %v of version %d, %v", f.Offsets, have, f.Schema, err)
		}
	}
}

// TestShareKilled: the process ends at any of its requests. Nothing is lost or
// twice there, and the next process shares.
func TestShareKilled(t *testing.T) {
	first := newQuiet(t, 3, 2)
	step := 1
	if testing.Short() {
		step = 11
	}
	for skip, dead := 0, true; dead; skip += step {
		if skip > 400 {
			t.Fatal("it never ends")
		}
		s := first.again(t)
		s.bucket.Add(objtest.Fault{Skip: skip, Err: objstore.ErrDenied})
		s.Look(t.Context())
		dead = s.Status().Merges < 1
		s.bucket.Clear()
		s.check(t)
		s.open(t)
		s.Look(t.Context())
		if f, o := shared(s.check(t)); f != 3 || o != 1 {
			t.Errorf("killed at request %d: %d files, %d objects in the end: %+v", skip, f, o, s.Status())
		}
	}
}

// TestShareUnderFaults: each kind of request fails in each way, once. The next
// passes make up for it.
func TestShareUnderFaults(t *testing.T) {
	first := newQuiet(t, 3, 2)
	skips := []int{0, 1, 3, 7}
	if testing.Short() {
		skips = []int{1}
	}
	for _, op := range []objtest.Op{objtest.Put, objtest.Head, objtest.Get, objtest.ReadAt} {
		for _, how := range []objtest.How{objtest.Before, objtest.After, objtest.Half, objtest.Lie, objtest.Spoil, objtest.Cut} {
			if how >= objtest.Lie && op != objtest.Put {
				continue
			}
			for _, skip := range skips {
				s := first.again(t)
				s.bucket.Add(objtest.Fault{Op: op, How: how, Skip: skip, Times: 1})
				s.Look(t.Context())
				s.bucket.Clear()
				s.check(t)
				s.start(t)
				s.Look(t.Context())
				if f, o := shared(s.check(t)); f != 3 || o != 1 {
					t.Errorf("%s/%d/%d: %d files, %d objects: %+v", op, how, skip, f, o, s.Status())
				}
			}
		}
	}
}

// carryOut makes of a table's files what a plan says, as Replace would.
func carryOut(queues [][]archive.DataFile, p Plans, n *int) {
	join := func(run []archive.DataFile, s archive.Section) {
		made := run[0]
		*n++
		made.Name, made.Bytes, made.Rows, made.Parts, made.Section = fmt.Sprint("made", *n), 0, 0, 0, s
		for _, f := range run {
			made.Bytes, made.Rows, made.Parts = made.Bytes+f.Bytes, made.Rows+f.Rows, made.Parts+max(f.Parts, 1)
			made.Offsets.To, made.LastStoreMillis = f.Offsets.To, max(made.LastStoreMillis, f.LastStoreMillis)
		}
		list := queues[run[0].Queue.ID]
		at := slices.IndexFunc(list, func(f archive.DataFile) bool { return f.Offsets.From == run[0].Offsets.From })
		queues[run[0].Queue.ID] = slices.Replace(list, at, at+len(run), made)
	}
	for _, run := range p.Merges {
		join(run, archive.Section{})
	}
	for _, runs := range p.Shares {
		for i, run := range runs {
			join(run, archive.Section{Rows: 1, Row: int64(i)})
			list := queues[run[0].Queue.ID]
			at := slices.IndexFunc(list, func(f archive.DataFile) bool { return f.Offsets.From == run[0].Offsets.From })
			list[at].Name = fmt.Sprint("shared", *n-i)
		}
	}
}

// TestMonthOfQuietQueues plans for a month of a thousand queues with a file an
// hour each, of which one in fifty comes a day late: the objects stay
// within what is promised, as does how often a byte is written. With a schema it
// is the same.
func TestMonthOfQuietQueues(t *testing.T) {
	for _, schema := range []int64{0, 1} {
		t.Run(fmt.Sprint("schema=", schema), func(t *testing.T) { quietMonth(t, schema) })
	}
}

func quietMonth(t *testing.T, schema int64) {
	const count = 1000
	days := 30
	if testing.Short() {
		days = 4
	}
	queues := make([][]archive.DataFile, count)
	next := make([]int64, count)
	late := map[int][]archive.DataFile{} // by the hour in which they come
	var rules Rules
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	made, written, files := 0, int64(0), int64(0)
	for hour := range (days + 3) * 24 {
		now := begin.Add(time.Duration(hour) * time.Hour)
		for id := range queues {
			if hour >= days*24 {
				break
			}
			f := archive.DataFile{
				Name: fmt.Sprint(id, "-", hour), Queue: mq.Queue{Broker: "b", Topic: "t", ID: int32(id)}, Rows: 5, Bytes: 9000, Schema: schema,
				Offsets: mq.Range{From: next[id], To: next[id] + 5}, FirstStoreMillis: now.Add(-time.Hour).UnixMilli(), LastStoreMillis: now.Add(-time.Second).UnixMilli(),
			}
			next[id] += 5
			files++
			if id%50 == 7 && hour%24 == 23 { // the queue's connector was away for a while
				late[hour+id%24] = append(late[hour+id%24], f)
				continue
			}
			if n := len(queues[id]); n > 0 && queues[id][n-1].Offsets.To != f.Offsets.From {
				late[hour+25] = append(late[hour+25], f) // in order
				continue
			}
			queues[id] = append(queues[id], f)
		}
		for _, f := range late[hour] {
			queues[f.Queue.ID] = append(queues[f.Queue.ID], f)
		}
		for {
			p := rules.PlanTable(queues, now.Add(30*time.Minute), nil, false)
			if len(p.Merges)+len(p.Shares) == 0 {
				break
			}
			for _, run := range slices.Concat(append(p.Shares, p.Merges)...) {
				for _, f := range run {
					written += f.Bytes
				}
			}
			carryOut(queues, p, &made)
		}
	}
	objects, alone := map[string]bool{}, 0
	for _, list := range queues {
		for _, f := range list {
			if objects[f.Name] = true; !f.Shared() {
				alone++
			}
		}
	}
	perByte := float64(written) / float64(files*9000)
	t.Logf("%d objects of %d files, %d of them of one queue; a byte was written %.2f times more", len(objects), files, alone, perByte)
	// The first hour's file is of the day before. Each day has an object more, for
	// what came late.
	if most := (days + 1) * ((count+archive.MaxSections-1)/archive.MaxSections + 1); len(objects) > most || perByte > 3 {
		t.Errorf("%d objects, %d are promised; a byte was written %.2f times more", len(objects), most, perByte)
	}
}
