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
	if f, o := shared(s.check(t)); f != 5 || o != 1 {
		t.Errorf("latecomers: %d files, %d objects: %+v", f, o, s.Status())
	}
	if st, err := s.Compact(t.Context(), ""); err != nil || st.Merges != 0 {
		t.Errorf("nothing to do: %+v, %v", st, err)
	}
}

// TestShareAfter: the delay is a setting, and a period may be shorter than it.
func TestShareAfter(t *testing.T) {
	s := newQuiet(t, 5, 3)
	var last int64
	for _, f := range s.table.Index().All() {
		last = max(last, f.FirstStoreMillis)
	}
	over := time.UnixMilli(last).Truncate(time.Minute).Add(time.Minute)
	s.cfg.Rules.Span, s.cfg.Rules.Settle, s.cfg.Rules.ShareAfter = time.Minute, 1, 20*time.Second
	s.now = over.Add(19 * time.Second)
	s.Look(t.Context())
	if f, o := shared(s.check(t)); o == 1 {
		t.Fatalf("too early: %d files, %d objects", f, o)
	}
	s.now = over.Add(20*time.Second + time.Millisecond)
	s.Look(t.Context())
	if f, o := shared(s.check(t)); f != 5 || o != 1 {
		t.Errorf("%d files, %d objects: %+v", f, o, s.Status())
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
	t.Parallel()
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

// TestJoinKilled: so it is where what came late is put to what was shared, in
// more than one object.
func TestJoinKilled(t *testing.T) {
	t.Parallel()
	first := newStand(t, 0, 0)
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)
	few := func(rows int) {
		first.now = noon
		for id := range int32(archive.MaxSections + 2) {
			q := queue
			q.ID = id
			first.commit(t, q, rows)
		}
	}
	few(2)
	first.now = noon.Add(14*time.Hour + 10*time.Minute)
	first.Look(t.Context())
	few(3)
	if f, o := shared(first.check(t)); f != 260 || o != 132 {
		t.Fatalf("%d files, %d objects: %+v", f, o, first.Status())
	}
	first.now = noon.Add(38*time.Hour + 10*time.Minute)
	step := 41
	if testing.Short() {
		step = 301
	}
	for skip, dead := 0, true; dead; skip += step {
		if skip > 4000 {
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
		if f, o := shared(s.check(t)); f != 130 || o != 2 {
			t.Errorf("killed at request %d: %d files, %d objects in the end: %+v", skip, f, o, s.Status())
		}
	}
}

// TestShareUnderFaults: each kind of request fails in each way, once. The next
// passes make up for it.
func TestShareUnderFaults(t *testing.T) {
	t.Parallel()
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

// carryOut makes of a table's files what a plan says, as Replace would. It demands
// that shared objects are taken as a whole.
func carryOut(t *testing.T, queues [][]archive.DataFile, p Plans, n *int) {
	t.Helper()
	join := func(run []archive.DataFile, name string, s archive.Section) {
		made := run[0]
		made.Name, made.Bytes, made.Rows, made.Parts, made.Section = name, 0, 0, 0, s
		for _, f := range run {
			made.Bytes, made.Rows, made.Parts = made.Bytes+f.Bytes, made.Rows+f.Rows, made.Parts+max(f.Parts, 1)
			made.Offsets.To, made.LastStoreMillis = f.Offsets.To, max(made.LastStoreMillis, f.LastStoreMillis)
		}
		list := queues[run[0].Queue.ID]
		at := slices.IndexFunc(list, func(f archive.DataFile) bool { return f.Offsets.From == run[0].Offsets.From })
		queues[run[0].Queue.ID] = slices.Replace(list, at, at+len(run), made)
	}
	for _, run := range p.Merges {
		*n++
		join(run, fmt.Sprint("made", *n), archive.Section{})
	}
	for _, s := range p.Shares {
		gone := map[string]bool{}
		for _, f := range s.files() {
			gone[f.Name] = true
		}
		for _, runs := range s {
			*n++
			if len(runs) > archive.MaxSections {
				t.Fatalf("%d sections", len(runs))
			}
			for i, run := range runs {
				join(run, fmt.Sprint("shared", *n), archive.Section{Rows: 1, Row: int64(i)})
			}
		}
		for _, list := range queues {
			for _, f := range list {
				if gone[f.Name] {
					t.Fatalf("%s was taken in part", f.Name)
				}
			}
		}
	}
}

// tally counts the objects of a table, and how many of them have one queue.
func tally(queues [][]archive.DataFile) (objects, alone int) {
	seen := map[string]bool{}
	for _, list := range queues {
		for _, f := range list {
			if seen[f.Name] = true; !f.Shared() {
				alone++
			}
		}
	}
	return len(seen), alone
}

// settle carries plans out until nothing more is due, and gives the bytes that it
// wrote.
func settle(t *testing.T, queues [][]archive.DataFile, now time.Time, made *int) (written int64) {
	t.Helper()
	for range 100 {
		p := Rules{}.PlanTable(queues, now, nil, false)
		if len(p.Merges)+len(p.Shares) == 0 {
			return written
		}
		for _, s := range p.Shares {
			written += sizeOf(s.files())
		}
		for _, run := range p.Merges {
			written += sizeOf(run)
		}
		carryOut(t, queues, p, made)
	}
	t.Fatal("it never ends")
	return 0
}

// TestLateData: more and more of one day comes for two months, of each queue or of
// some, of as much as the day had or of little. The objects
// stay a few more than the queues need, and a byte isn't written for each day again.
func TestLateData(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		count, every int // queues, and one in how many brings something each day
		size         int64
		most         int // objects of the day
		perByte      float64
	}{{1000, 1, 9000, 16, 15}, {1000, 50, 9000, 16, 6}, {1000, 3, 40_000, 16, 22}, {100, 1, 100_000, 6, 10}, {100, 7, 9000, 5, 5}, {20, 20, 9000, 5, 3}} {
		t.Run(fmt.Sprintf("queues=%d,every=%d,bytes=%d", c.count, c.every, c.size), func(t *testing.T) {
			queues := make([][]archive.DataFile, c.count)
			begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
			made, total, written, top := 0, int64(0), int64(0), 0
			bring := func(id int, size int64) {
				next := int64(0)
				if n := len(queues[id]); n > 0 {
					next = queues[id][n-1].Offsets.To
				}
				queues[id] = append(queues[id], archive.DataFile{
					Name: fmt.Sprint(id, "-", next), Queue: mq.Queue{Broker: "b", Topic: "t", ID: int32(id)}, Rows: 5, Bytes: size,
					Offsets: mq.Range{From: next, To: next + 5}, FirstStoreMillis: begin.Add(time.Hour).UnixMilli(), LastStoreMillis: begin.Add(2 * time.Hour).UnixMilli(),
				})
				total += size
			}
			for id := range queues {
				bring(id, 200_000)
			}
			for day := 1; day <= 60; day++ {
				now := begin.Add(time.Duration(day)*24*time.Hour + 2*time.Hour + 20*time.Minute)
				written += settle(t, queues, now, &made)
				n, _ := tally(queues)
				top = max(top, n)
				for id := day % c.every; id < c.count; id += c.every {
					bring(id, c.size)
				}
				written += settle(t, queues, now.Add(12*time.Hour), &made) // not now
			}
			perByte := float64(written) / float64(total)
			t.Logf("%d objects at most; a byte was written %.2f times more", top, perByte)
			if top > c.most || perByte > c.perByte {
				t.Errorf("%d objects, %d are promised; a byte was written %.2f times more", top, c.most, perByte)
			}
		})
	}
}

// TestMonthOfQuietQueues plans for a month of a thousand queues with a file an
// hour each, of which one in fifty comes a day late: the objects stay
// within what is promised, as does how often a byte is written. With a schema it
// is the same.
func TestMonthOfQuietQueues(t *testing.T) {
	t.Parallel()
	for _, schema := range []int64{0, 1} {
		t.Run(fmt.Sprint("schema=", schema), func(t *testing.T) {
			t.Parallel()
			quietMonth(t, schema)
		})
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
		written += settle(t, queues, now.Add(30*time.Minute), &made)
	}
	objects, alone := tally(queues)
	perByte := float64(written) / float64(files*9000)
	t.Logf("%d objects of %d files, %d of them of one queue; a byte was written %.2f times more", objects, files, alone, perByte)
	// The first hour's file is of the day before. Each day has an object more, for
	// what came late.
	if most := (days + 1) * ((count+archive.MaxSections-1)/archive.MaxSections + 1); objects > most || perByte > 3 {
		t.Errorf("%d objects, %d are promised; a byte was written %.2f times more", objects, most, perByte)
	}
}
