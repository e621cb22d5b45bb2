package archive

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"varve/internal/mq"
	"varve/internal/objstore"
)

// footer is what is known of an open object: its footer and page index in memory. Its file, or
// the files that share it, are views of it.
type footer struct {
	name     string
	size     int64
	pf       *parquet.File
	all      []group // by the object's rows
	sections []sectionNote
}

// sectionNote is what a shared object itself says of a section.
type sectionNote struct {
	Queue int32  `json:"queue"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
	Row   int64  `json:"row"`
	Proof string `json:"proof,omitempty"` // hashes of its parts
}

// metaSections is the key of a shared object's metadata that has its sections.
const metaSections = "varve.sections"

// readSections takes over what the object says of its sections.
func (o *footer) readSections() error {
	text, ok := o.pf.Lookup(metaSections)
	if !ok {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &o.sections); err != nil {
		return damaged(o.name, "%s: %w", metaSections, err)
	}
	return nil
}

// checkShared compares a shared object's own description with the table's.
func (o *footer) checkShared(d DataFile) error {
	if v, _ := o.pf.Lookup(metaFormat); v != strconv.Itoa(SharedFormatVersion) {
		return damaged(o.name, "its %s is %q, the table says that it is shared", metaFormat, v)
	}
	for key, want := range map[string]string{metaTopic: d.Queue.Topic, metaBroker: d.Queue.Broker} {
		if got, _ := o.pf.Lookup(key); got != want {
			return damaged(o.name, "its %s is %q, the table says %q", key, got, want)
		}
	}
	if n := o.pf.NumRows(); n != d.Section.Rows {
		return damaged(o.name, "%d rows, the table says %d", n, d.Section.Rows)
	}
	return nil
}

// section gives what the object says of a file's section; the zero value where
// it says nothing.
func (o *footer) section(d DataFile) sectionNote {
	i := slices.IndexFunc(o.sections, func(s sectionNote) bool {
		return s.Queue == d.Queue.ID && s.Row == d.Section.Row && mq.Range{From: s.From, To: s.To} == d.Offsets
	})
	if i < 0 {
		return sectionNote{}
	}
	return o.sections[i]
}

// file gives the view of a file that the object has.
func (o *footer) file(rr RangeReader, d DataFile, c *cursors) (*File, error) {
	f := &File{footer: o, data: d, rr: rr, rows: o.pf.NumRows(), groups: o.all, cursors: c}
	if !d.Shared() {
		return f, nil
	}
	if o.section(d).To == 0 {
		return nil, damaged(o.name, "it doesn't say that row %d on are offsets %d to %d of %v", d.Section.Row, d.Offsets.From, d.Offsets.To, d.Queue)
	}
	// A row group is of one section, so that its rows are the file's but for a
	// constant.
	f.rows, f.groups = d.Rows, nil
	next := d.Section.Row
	for i := range o.all {
		g := o.all[i]
		if g.to <= next || g.from >= d.Section.Row+d.Rows {
			continue
		}
		if g.from != next || g.to > d.Section.Row+d.Rows {
			return nil, damaged(o.name, "the row group from row %d to %d is of more than the section from row %d to %d", g.from, g.to, d.Section.Row, d.Section.Row+d.Rows)
		}
		next = g.to
		g.from, g.to = g.from-d.Section.Row, g.to-d.Section.Row
		f.groups = append(f.groups, g)
	}
	if next != d.Section.Row+d.Rows {
		return nil, damaged(o.name, "the row groups end at row %d, the section at %d", next, d.Section.Row+d.Rows)
	}
	return f, nil
}

// whole gives a view of all rows of the object, whosever they are.
func (o *footer) whole(rr RangeReader, d DataFile) *File {
	return &File{footer: o, data: d, rr: rr, rows: o.pf.NumRows(), groups: o.all, cursors: newCursors(0, nil)}
}

// SectionsOf gives what a shared object itself says that it has of each queue: from
// the first offset to behind the last.
func SectionsOf(ctx context.Context, rr RangeReader, topic string, o objstore.Object) (map[mq.Queue]mq.Range, error) {
	out := map[mq.Queue]mq.Range{}
	seg, err := readTail(ctx, rr, DataFile{Name: o.Name, Bytes: o.Size})
	if err != nil {
		return nil, err
	}
	return out, guard(o.Name, func() error {
		pf, err := parquet.OpenFile(seg, o.Size, parquet.SkipMagicBytes(true), parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
		if err != nil {
			return damaged(o.Name, "%w", err)
		}
		f := footer{name: o.Name, pf: pf}
		if err := f.readSections(); err != nil {
			return err
		}
		broker, _ := pf.Lookup(metaBroker)
		for _, s := range f.sections {
			q := mq.Queue{Broker: broker, Topic: topic, ID: s.Queue}
			r, ok := out[q]
			if !ok {
				r.From = s.From
			}
			out[q] = mq.Range{From: min(r.From, s.From), To: max(r.To, s.To)}
		}
		return nil
	})
}
