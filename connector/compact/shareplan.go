package compact

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
)

// Limits of sharing.
const (
	// shareWithin is how long what comes later may join, once a period.
	shareWithin = time.Hour
	// filesOfSection is how many files of a queue go to a shared object at most.
	// Where there are more they are put together by themselves before.
	filesOfSection = mostFiles / archive.MaxSections
	// fewerObjects is how many fewer of about one size make it worth to write them
	// anew, with nothing new to put to them.
	fewerObjects = 3
	// joinBytes is how many full files' bytes are written anew at a time, at most.
	joinBytes = 8
)

// Plans is what is due of a broker group's queues of a table.
type Plans struct {
	Merges [][]archive.DataFile // each a run of a queue's files that become one
	Shares []Share
}

// Share is objects that are made together: each of the runs of several queues, of
// files of their own and of sections of objects that are shared already, of which
// it takes all.
type Share [][][]archive.DataFile

// files are all that the objects are made of.
func (s Share) files() []archive.DataFile { return slices.Concat(slices.Concat(s...)...) }

// PlanTable gives what is due of the queues of a table, each one's files in order
// of their offsets: merges as Plan has them, and for periods that are over shared
// objects of the queues that have little of it, less than SmallBytes. skip and
// force are as in Plan; force shares only what is of a period that is over.
//
// A period is shared once it has been over for ShareAfter, in objects of at most
// archive.MaxSections queues and FullBytes. What comes later is shared at the same
// time of the next periods, together with the period's objects that are about as
// small (joins). So n quiet queues leave ⌈n/MaxSections⌉ objects a period, and, in
// however many pieces more of it comes later, a few whose sizes grow by fours; and
// so again for each version of the topic's schema in the period.
func (r Rules) PlanTable(queues [][]archive.DataFile, now time.Time, skip func(name string) bool, force bool) Plans {
	r = r.withDefaults()
	var out Plans
	over := now.Add(-r.Settle)
	batches := r.batches(queues, over, skip)
	waiting := map[place]bool{}
	for _, k := range slices.SortedFunc(maps.Keys(batches), batchKey.compare) {
		b := batches[k]
		end := time.UnixMilli((k.period + 1) * r.Span.Milliseconds())
		since := over.Sub(end.Add(r.ShareAfter))
		ready := force || since >= 0 && len(b.objects) == 0 || since >= r.Span && since%r.Span < shareWithin
		fresh := r.objects(b.runs)
		for _, object := range fresh {
			for _, run := range object {
				waiting[placeOf(run)] = true
			}
		}
		if !ready {
			continue
		}
		switch joined := r.joins(b, force); {
		case joined != nil:
			out.Shares = append(out.Shares, joined)
			for _, run := range b.runs {
				waiting[placeOf(run)] = true
			}
		default:
			for _, object := range fresh {
				out.Shares = append(out.Shares, Share{object})
			}
		}
	}
	for _, files := range queues {
		out.Merges = append(out.Merges, r.plan(files, now, skip, force, func(run []archive.DataFile) bool { return waiting[placeOf(run)] })...)
	}
	return out
}

// batchKey is what may share objects: files of one period whose typed columns are
// of one version of the schema.
type batchKey struct{ period, schema int64 }

func (r Rules) batchKey(f archive.DataFile) batchKey { return batchKey{r.period(f), f.Schema} }

func (k batchKey) compare(o batchKey) int {
	return cmp.Or(cmp.Compare(k.period, o.period), cmp.Compare(k.schema, o.schema))
}

// batch is what a period has of quiet queues.
type batch struct {
	runs    [][]archive.DataFile // small ones of files of one queue, by queue and offset
	objects [][]archive.DataFile // shared ones, the smallest first
}

// batches finds the small runs and the shared objects of periods that are over.
func (r Rules) batches(queues [][]archive.DataFile, over time.Time, skip func(name string) bool) map[batchKey]*batch {
	out := map[batchKey]*batch{}
	at := func(k batchKey) *batch {
		if out[k] == nil {
			out[k] = &batch{}
		}
		return out[k]
	}
	var sections []archive.DataFile
	for _, files := range queues {
		for _, f := range files {
			if f.Shared() {
				sections = append(sections, f)
			}
		}
		for _, run := range r.runs(files, over, skip) {
			if k := r.batchKey(run[0]); k.period < over.UnixMilli()/r.Span.Milliseconds() && r.shareable(run) {
				at(k).runs = append(at(k).runs, run)
			}
		}
	}
	for _, object := range archive.ByObject(sections) {
		k := r.batchKey(object[0])
		// A period of another length than today's is left as it is.
		other := func(f archive.DataFile) bool { return r.batchKey(f) != k }
		if slices.ContainsFunc(object, other) || skip != nil && skip(object[0].Name) || r.SmallBytes < 0 {
			continue
		}
		at(k).objects = append(at(k).objects, object)
	}
	for _, b := range out {
		slices.SortFunc(b.runs, byPlace)
		slices.SortStableFunc(b.objects, func(x, y []archive.DataFile) int { return cmp.Compare(sizeOf(x), sizeOf(y)) })
	}
	return out
}

// place is where a run begins.
type place struct {
	q  mq.Queue
	at int64
}

func placeOf(run []archive.DataFile) place { return place{run[0].Queue, run[0].Offsets.From} }

func byPlace(a, b []archive.DataFile) int {
	return cmp.Or(cmp.Compare(a[0].Queue.ID, b[0].Queue.ID), cmp.Compare(a[0].Offsets.From, b[0].Offsets.From))
}

func sizeOf(files []archive.DataFile) (size int64) {
	for _, f := range files {
		size += f.Bytes
	}
	return size
}

// shareable reports whether a run is little enough to share an object.
func (r Rules) shareable(run []archive.DataFile) bool {
	return sizeOf(run) < r.SmallBytes && len(run) <= filesOfSection
}

// objects parts runs, in order, into those that share an object. One alone shares
// none.
func (r Rules) objects(runs [][]archive.DataFile) (out [][][]archive.DataFile) {
	for _, object := range r.pack(runs, archive.MaxSections) {
		if len(object) > 1 {
			out = append(out, object)
		}
	}
	return out
}

// pack parts runs, in order, into objects of at most some sections and FullBytes.
func (r Rules) pack(runs [][]archive.DataFile, sections int) (out [][][]archive.DataFile) {
	var open [][]archive.DataFile
	var size int64
	for _, run := range runs {
		n := sizeOf(run)
		if len(open) == sections || len(open) > 0 && size+n > r.FullBytes {
			out, open, size = append(out, open), nil, 0
		}
		open, size = append(open, run), size+n
	}
	if len(open) > 0 {
		out = append(out, open)
	}
	return out
}

// joins gives what becomes fewer objects of a period's new runs and of those of
// its objects that are small beside them, nil where nothing does. The more is
// written anew, the more it must be worth: the largest ones that are taken, those
// within a factor of four, hold at most four times what is put to them, or some
// objects fewer come of it. So a byte is written again about as often as its object
// grows by a quarter, and the sizes of those that stay apart grow by fours.
func (r Rules) joins(b *batch, force bool) Share {
	if len(b.objects) == 0 {
		return nil
	}
	runs, files, written := b.runs, 0, int64(0)
	for _, run := range runs {
		files, written = files+len(run), written+sizeOf(run)
	}
	if files+len(b.objects) > mostFiles && len(r.objects(runs)) > 0 {
		return nil // first by themselves
	}
	var all []archive.DataFile
	var ends []taken
	class := -1
	for i, object := range b.objects {
		size := sizeOf(object)
		if written += size; written > joinBytes*r.FullBytes || files+i+1 > mostFiles {
			break
		}
		next := taken{written: written, top: size, tops: 1}
		if c := (bits.Len64(uint64(size)) + 1) / 2; c != class {
			class = c
		} else {
			next.top, next.tops = size+ends[i-1].top, 1+ends[i-1].tops
		}
		all = append(all, object...)
		next.sections = len(all)
		ends = append(ends, next)
	}
	for i := len(ends) - 1; i >= 0; i-- {
		e := ends[i]
		made := r.joined(runs, all[:e.sections])
		if fewer := i + 1 + len(runs) - len(made); fewer > 0 && (force || e.top <= 4*(e.written-e.top) || e.tops-len(made) >= fewerObjects) {
			return made
		}
	}
	return nil
}

// taken is what the smallest objects of a period come to, up to one of them.
type taken struct {
	sections int
	written  int64 // their bytes, and those of what comes new
	top      int64 // bytes of those within a factor of four of the last
	tops     int   // and how many those are
}

// joined gives the objects that runs and sections of others become: what follows
// each other in a queue is one section, and each object has about as many.
func (r Rules) joined(runs [][]archive.DataFile, sections []archive.DataFile) Share {
	all := slices.Concat(slices.Concat(runs...), sections)
	slices.SortFunc(all, func(a, b archive.DataFile) int {
		return cmp.Or(cmp.Compare(a.Queue.ID, b.Queue.ID), cmp.Compare(a.Offsets.From, b.Offsets.From))
	})
	var out [][]archive.DataFile
	for _, f := range all {
		if n := len(out); n > 0 {
			if last := out[n-1][len(out[n-1])-1]; last.Queue == f.Queue && last.Offsets.To == f.Offsets.From {
				out[n-1] = append(out[n-1], f)
				continue
			}
		}
		out = append(out, []archive.DataFile{f})
	}
	objects := (len(out) + archive.MaxSections - 1) / archive.MaxSections
	return r.pack(out, (len(out)+objects-1)/objects)
}
