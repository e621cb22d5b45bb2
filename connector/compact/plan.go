package compact

import (
	"cmp"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
)

// Limits of the plan.
const (
	// fanIn is how many files of one level make one of the next. A file's level
	// is how often its number of committed files can be divided by it.
	fanIn = 16
	// mostFiles bounds the files of one merge.
	mostFiles = 512
)

// Rules says what is worth a merge. The zero value takes the defaults.
type Rules struct {
	FullBytes int64 // a file of so many bytes is left alone; 128 MiB
	MaxBytes  int64 // a merged file has at most so many; 256 MiB
	// SmallBytes is what a queue has less of in a period whose files share an
	// object with other queues'; 8 MiB, negative for none.
	SmallBytes int64
	// ShareAfter is how long a period has been over when such files are put
	// together: by then the connectors have brought what belongs to it. 2 h
	ShareAfter time.Duration
	Span       time.Duration // files are merged within periods of this length, by the calendar of UTC; 24 h
	Settle     time.Duration // how long the last message of a file has been stored before it is touched; 10 min
}

func (r Rules) withDefaults() Rules {
	r.FullBytes = cmp.Or(r.FullBytes, 128<<20)
	r.MaxBytes = cmp.Or(r.MaxBytes, 2*r.FullBytes)
	r.SmallBytes = cmp.Or(r.SmallBytes, 8<<20)
	r.ShareAfter = cmp.Or(r.ShareAfter, 2*time.Hour)
	r.Span = cmp.Or(r.Span, 24*time.Hour)
	r.Settle = cmp.Or(r.Settle, 10*time.Minute)
	return r
}

// Plan gives the merges that are due of a queue's files, which are in order of
// their offsets; each is a run of files that become one. skip leaves a file
// alone (nil for none). force takes every run that could become fewer files,
// settled or not.
//
// While a period lasts, a run is merged when it fills a file, or when fanIn
// files of one level are together; when it is over, whatever is left becomes
// one file, or several full ones. So a byte is written again once for each level
// that a period's files reach, ⌊log16(files a period)⌋, and once at its end: at
// most four times in a queue with a file every ten seconds, three times in one
// with a file every five minutes, and once where files have 16 MiB. And a queue has one
// file a period that is not full, and at most fanIn-1 of each level in the
// period that lasts.
func (r Rules) Plan(files []archive.DataFile, now time.Time, skip func(name string) bool, force bool) [][]archive.DataFile {
	return r.plan(files, now, skip, force, nil)
}

// plan is Plan without the runs that wait (nil for none): they share an object.
func (r Rules) plan(files []archive.DataFile, now time.Time, skip func(name string) bool, force bool, wait func(run []archive.DataFile) bool) [][]archive.DataFile {
	r = r.withDefaults()
	settled := now.Add(-r.Settle)
	if force {
		settled = now.Add(time.Hour)
	}
	var out [][]archive.DataFile
	for _, run := range r.runs(files, settled, skip) {
		if wait != nil && wait(run) {
			continue
		}
		over := force || r.period(run[0]) < settled.UnixMilli()/r.Span.Milliseconds()
		out = append(out, r.merges(run, over)...)
	}
	return out
}

// period numbers the period of a file's first message.
func (r Rules) period(f archive.DataFile) int64 { return f.FirstStoreMillis / r.Span.Milliseconds() }

// runs cuts a queue's files into those that may become one: of one period,
// settled, not full, with an object of their own, without a gap, with the typed columns of one version of the
// topic's schema. A file of another version begins a run of its own: to fill it
// up with nulls would mean to write all of it anew, and a schema changes seldom.
func (r Rules) runs(files []archive.DataFile, settled time.Time, skip func(string) bool) [][]archive.DataFile {
	var out [][]archive.DataFile
	var run []archive.DataFile
	end := func() {
		if len(run) > 0 {
			out = append(out, run)
		}
		run = nil
	}
	for _, f := range files {
		if f.Shared() || f.Bytes >= r.FullBytes || f.LastStoreMillis > settled.UnixMilli() || skip != nil && skip(f.Name) {
			end()
			continue
		}
		if n := len(run); n > 0 && (run[n-1].Queue != f.Queue || run[n-1].Offsets.To != f.Offsets.From || run[n-1].Schema != f.Schema || r.period(run[0]) != r.period(f)) {
			end()
		}
		run = append(run, f)
	}
	end()
	return out
}

// merges gives what of a run is due.
func (r Rules) merges(run []archive.DataFile, over bool) [][]archive.DataFile {
	var out [][]archive.DataFile
	for len(run) > 1 {
		n, size := r.fit(run)
		switch {
		case over && n > 1, size >= r.FullBytes && n > 1:
			out = append(out, run[:n])
			run = run[n:]
		case over:
			run = run[1:] // the next one alone is too large to join it
		default:
			return append(out, r.levels(run)...)
		}
	}
	return out
}

// fit gives how many files from the start become one, and their bytes.
func (r Rules) fit(run []archive.DataFile) (n int, size int64) {
	for n < len(run) && n < mostFiles && (n == 0 || size+run[n].Bytes <= r.MaxBytes) {
		size += run[n].Bytes
		n++
	}
	return n, size
}

// levels gives the places of a run where fanIn files of the lowest level that
// has so many are together.
func (r Rules) levels(run []archive.DataFile) [][]archive.DataFile {
	var out [][]archive.DataFile
	for low := 0; low < 16; low++ {
		from, count := 0, 0
		for i := 0; i < len(run); i++ {
			switch l := level(run[i]); {
			case l > low:
				from, count = i+1, 0
			case l == low:
				count++
			}
			if count == fanIn {
				out = append(out, run[from:i+1])
				from, count = i+1, 0
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

func level(f archive.DataFile) (n int) {
	for parts := f.Parts; parts >= fanIn; parts /= fanIn {
		n++
	}
	return n
}

// Small counts the files of a table that are of a broker group, not full, and
// share no object.
func (r Rules) Small(x *archive.Index, broker string) (n int) {
	r = r.withDefaults()
	for _, q := range x.Queues() {
		if q.Broker != broker {
			continue
		}
		for _, f := range queueFiles(x, q) {
			if f.Bytes < r.FullBytes && !f.Shared() {
				n++
			}
		}
	}
	return n
}

// queueFiles gives a queue's files in order.
func queueFiles(x *archive.Index, q mq.Queue) []archive.DataFile {
	r, ok := x.Range(q)
	if !ok {
		return nil
	}
	return x.Files(q, r)
}
