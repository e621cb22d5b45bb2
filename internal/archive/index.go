package archive

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"sync"

	"varve/internal/mq"
)

// Index knows a table's data files in memory. It does no I/O and may be used
// concurrently; the slices it gives are not changed afterwards.
//
// Invariants: a queue's files are in offset order and don't overlap. There may
// be gaps where a deletion took files out of the middle.
type Index struct {
	mu     sync.RWMutex
	queues map[mq.Queue]*queueFiles
	names  map[string][]DataFile // of each object, by row
	bytes  int64
}

type queueFiles struct {
	files []DataFile // never changed in place
	from  int64      // where the unbroken run of files up to next begins
	next  int64
	bytes int64
	gaps  []mq.Range // declared
}

// settle finds from again. What is missing by declaration is no break.
func (qf *queueFiles) settle() {
	qf.from = qf.next
	for i := len(qf.files) - 1; i >= 0; i-- {
		f := qf.files[i].Offsets
		if f.To != qf.from && !slices.Contains(qf.gaps, mq.Range{From: f.To, To: qf.from}) {
			return
		}
		qf.from = f.From
	}
}

// NewIndex makes an empty index.
func NewIndex() *Index {
	return &Index{queues: map[mq.Queue]*queueFiles{}, names: map[string][]DataFile{}}
}

// Apply brings the index to a new state: files that went, files that came,
// where each queue goes on, and what is declared to be missing.
func (x *Index) Apply(added []DataFile, removed []string, next map[mq.Queue]int64, gaps Gaps) {
	x.mu.Lock()
	defer x.mu.Unlock()
	gone := x.remove(removed)
	fresh := map[mq.Queue][]DataFile{}
	for _, object := range ByObject(added) {
		if _, known := x.names[object[0].Name]; known {
			continue
		}
		x.names[object[0].Name] = object
		for _, f := range object {
			x.bytes += f.Bytes
			fresh[f.Queue] = append(fresh[f.Queue], f)
		}
	}
	for q, files := range fresh {
		slices.SortFunc(files, byOffset)
		qf := x.queue(q)
		for _, f := range files {
			qf.bytes += f.Bytes
		}
		if n := len(qf.files); n == 0 || qf.files[n-1].Offsets.To <= files[0].Offsets.From {
			qf.files = append(qf.files, files...) // readers hold shorter slices
			continue
		}
		all := append(slices.Clone(qf.files), files...)
		slices.SortFunc(all, byOffset)
		qf.files = all
	}
	for q, off := range next {
		qf := x.queue(q)
		if len(qf.files) == 0 {
			qf.from = off
		}
		qf.next = off
	}
	for q := range fresh {
		if len(gaps[q]) > 0 {
			x.queue(q).gaps = slices.Clone(gaps[q])
		}
		x.queue(q).settle()
	}
	for q := range gone {
		x.queue(q).settle()
	}
}

func byOffset(a, b DataFile) int { return cmp.Compare(a.Offsets.From, b.Offsets.From) }

func (x *Index) queue(q mq.Queue) *queueFiles {
	qf := x.queues[q]
	if qf == nil {
		qf = &queueFiles{}
		x.queues[q] = qf
	}
	return qf
}

func (x *Index) remove(names []string) map[mq.Queue]map[string]bool {
	gone := map[mq.Queue]map[string]bool{}
	for _, name := range names {
		for _, f := range x.names[name] {
			x.bytes -= f.Bytes
			if gone[f.Queue] == nil {
				gone[f.Queue] = map[string]bool{}
			}
			gone[f.Queue][name] = true
			x.queue(f.Queue).bytes -= f.Bytes
		}
		delete(x.names, name)
	}
	for q, set := range gone {
		qf := x.queue(q)
		kept := make([]DataFile, 0, len(qf.files))
		for _, f := range qf.files {
			if !set[f.Name] {
				kept = append(kept, f)
			}
		}
		qf.files = kept
	}
	return gone
}

func (x *Index) files(q mq.Queue) []DataFile {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if qf := x.queues[q]; qf != nil {
		return qf.files[:len(qf.files):len(qf.files)]
	}
	return nil
}

// Files gives the files that hold offsets of r, in order.
func (x *Index) Files(q mq.Queue, r mq.Range) []DataFile {
	files := x.files(q)
	from := sort.Search(len(files), func(i int) bool { return files[i].Offsets.To > r.From })
	to := sort.Search(len(files), func(i int) bool { return files[i].Offsets.From >= r.To })
	if from >= to {
		return nil
	}
	return files[from:to]
}

// FilesByTime gives the files that may hold a store time in [from, to], in
// offset order.
func (x *Index) FilesByTime(q mq.Queue, fromMillis, toMillis int64) []DataFile {
	var out []DataFile
	for _, f := range x.files(q) {
		if f.LastStoreMillis >= fromMillis && f.FirstStoreMillis <= toMillis {
			out = append(out, f)
		}
	}
	return out
}

// FilesByPhysical gives the files that may hold a position of a broker's log.
func (x *Index) FilesByPhysical(broker string, pos int64) []DataFile {
	var out []DataFile
	for _, q := range x.Queues() {
		if q.Broker != broker {
			continue
		}
		for _, f := range x.files(q) {
			if f.FirstPhysical <= pos && pos <= f.LastPhysical {
				out = append(out, f)
			}
		}
	}
	return out
}

// Range is the queue's archived range; ok is false for an unknown queue. It
// is empty, at the next offset, where retention removed everything. Where a
// deletion left a hole, the range begins after the last one.
func (x *Index) Range(q mq.Queue) (r mq.Range, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	qf := x.queues[q]
	if qf == nil {
		return mq.Range{}, false
	}
	return mq.Range{From: qf.from, To: qf.next}, true
}

// Queues lists the queues in order.
func (x *Index) Queues() []mq.Queue {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := make([]mq.Queue, 0, len(x.queues))
	for q := range x.queues {
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b mq.Queue) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), strings.Compare(a.Broker, b.Broker), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// All gives every file, by queue and offset.
func (x *Index) All() []DataFile {
	var out []DataFile
	for _, q := range x.Queues() {
		out = append(out, x.files(q)...)
	}
	return out
}

// Object gives the files of an object, by row: one, or the sections of a shared
// object; nil where the table has none of the name.
func (x *Index) Object(name string) []DataFile {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Clone(x.names[name])
}

// File finds a file by its object's name; of a shared object its first section.
func (x *Index) File(name string) (DataFile, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if files := x.names[name]; len(files) > 0 {
		return files[0], true
	}
	return DataFile{}, false
}

// FileOf finds a file by its identity.
func (x *Index) FileOf(id FileID) (DataFile, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, f := range x.names[id.Name] {
		if f.Section.Row == id.Row {
			return f, true
		}
	}
	return DataFile{}, false
}

// Bytes is the length of all files.
func (x *Index) Bytes() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.bytes
}

// QueueBytes is the length of one queue's files.
func (x *Index) QueueBytes(q mq.Queue) int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if qf := x.queues[q]; qf != nil {
		return qf.bytes
	}
	return 0
}
