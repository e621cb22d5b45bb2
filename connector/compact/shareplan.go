package compact

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
)

// Limits of sharing.
const (
	// shareAfter is how long a period has been over when its small files are put
	// together: by then the connectors have brought what belongs to it.
	shareAfter = 2 * time.Hour
	// shareWithin is how long what comes later may join, once a period.
	shareWithin = time.Hour
	// filesOfSection is how many files of a queue go to a shared object at most.
	// Where there are more they are put together by themselves before.
	filesOfSection = mostFiles / archive.MaxSections
)

// Plans is what is due of a broker group's queues of a table.
type Plans struct {
	Merges [][]archive.DataFile   // each a run of a queue's files that become one
	Shares [][][]archive.DataFile // each the runs of several queues that become one object
}

// PlanTable gives what is due of the queues of a table, each one's files in order
// of their offsets: merges as Plan has them, and for periods that are over shared
// objects of the queues that have little of it, less than SmallBytes. skip and
// force are as in Plan; force shares only what is of a period that is over.
//
// A period is shared once it has been over for shareAfter, in objects of at most
// archive.MaxSections queues and FullBytes. What comes later joins none of those,
// but makes more of them at the same time of the next periods. So n quiet queues
// leave ⌈n/MaxSections⌉ objects a period, and as many for those among them that
// came too late; and so again for each version of the topic's schema in the period.
func (r Rules) PlanTable(queues [][]archive.DataFile, now time.Time, skip func(name string) bool, force bool) Plans {
	r = r.withDefaults()
	var out Plans
	small := map[batch][][]archive.DataFile{}
	shared := map[batch]bool{} // that have shared objects
	over := now.Add(-r.Settle)
	for _, files := range queues {
		for _, f := range files {
			if f.Shared() {
				shared[r.batch(f)] = true
			}
		}
		for _, run := range r.runs(files, over, skip) {
			if b := r.batch(run[0]); b.period < over.UnixMilli()/r.Span.Milliseconds() && r.shareable(run) {
				small[b] = append(small[b], run)
			}
		}
	}
	waiting := map[place]bool{}
	for _, b := range slices.SortedFunc(maps.Keys(small), batch.compare) {
		runs := small[b]
		slices.SortFunc(runs, func(a, b []archive.DataFile) int {
			return cmp.Or(cmp.Compare(a[0].Queue.ID, b[0].Queue.ID), cmp.Compare(a[0].Offsets.From, b[0].Offsets.From))
		})
		end := time.UnixMilli((b.period + 1) * r.Span.Milliseconds())
		since := over.Sub(end.Add(shareAfter))
		ready := force || since >= 0 && !shared[b] || since >= r.Span && since%r.Span < shareWithin
		for _, object := range r.objects(runs) {
			for _, run := range object {
				waiting[placeOf(run)] = true
			}
			if ready {
				out.Shares = append(out.Shares, object)
			}
		}
	}
	for _, files := range queues {
		out.Merges = append(out.Merges, r.plan(files, now, skip, force, func(run []archive.DataFile) bool { return waiting[placeOf(run)] })...)
	}
	return out
}

// batch is what may share objects: files of one period whose typed columns are of
// one version of the schema.
type batch struct{ period, schema int64 }

func (r Rules) batch(f archive.DataFile) batch { return batch{r.period(f), f.Schema} }

func (b batch) compare(o batch) int {
	return cmp.Or(cmp.Compare(b.period, o.period), cmp.Compare(b.schema, o.schema))
}

// place is where a run begins.
type place struct {
	q  mq.Queue
	at int64
}

func placeOf(run []archive.DataFile) place { return place{run[0].Queue, run[0].Offsets.From} }

// shareable reports whether a run is little enough to share an object.
func (r Rules) shareable(run []archive.DataFile) bool {
	var size int64
	for _, f := range run {
		size += f.Bytes
	}
	return size < r.SmallBytes && len(run) <= filesOfSection
}

// objects parts runs, in order, into those that share an object. One alone shares
// none.
func (r Rules) objects(runs [][]archive.DataFile) (out [][][]archive.DataFile) {
	var open [][]archive.DataFile
	var size int64
	end := func() {
		if len(open) > 1 {
			out = append(out, open)
		}
		open, size = nil, 0
	}
	for _, run := range runs {
		var n int64
		for _, f := range run {
			n += f.Bytes
		}
		if len(open) == archive.MaxSections || size+n > r.FullBytes {
			end()
		}
		open, size = append(open, run), size+n
	}
	end()
	return out
}
