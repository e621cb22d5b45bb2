package archive

import (
	"bytes"
	"encoding/binary"

	"github.com/apache/iceberg-go"

	"varve/internal/mq"
	"varve/internal/typed"
)

// statsOf gives what an entry of a manifest says of typed columns, nil where
// the file has none.
func statsOf(d iceberg.DataFile) *ColumnStats {
	fit, ok := d.NullValueCounts()[idBodyError]
	if !ok {
		return nil
	}
	s := &ColumnStats{Misfits: d.Count() - fit, nulls: map[int]int64{idBodyError: fit}, low: map[int][]byte{}, high: map[int][]byte{}}
	for id, n := range d.NullValueCounts() {
		if id >= typed.FirstID {
			s.nulls[id] = n
		}
	}
	high := d.UpperBoundValues()
	for id, low := range d.LowerBoundValues() {
		if top, ok := high[id]; ok && id >= typed.FirstID {
			s.low[id], s.high[id] = low, top
		}
	}
	return s
}

// joinColumns gives merged objects the bounds of the typed columns of those in
// whose place they come.
func joinColumns(files, old []DataFile) {
	joined := map[string]*ColumnStats{} // by object
	for i := range files {
		f := &files[i]
		if f.Columns == nil || f.Columns.join == nil {
			continue
		}
		if _, ok := joined[f.Name]; !ok {
			joined[f.Name] = joinStats(f.Columns, sources(f.Name, files, old))
		}
		f.Columns = joined[f.Name]
	}
}

// sources gives one file of each old object that has rows of a new one.
func sources(name string, files, old []DataFile) (parts []DataFile) {
	seen := map[string]bool{}
	for _, o := range old {
		if seen[o.Name] {
			continue
		}
		for _, f := range files {
			if f.Name == name && o.Queue == f.Queue && overlap(o.Offsets, f.Offsets) {
				seen[o.Name] = true
				parts = append(parts, o)
				break
			}
		}
	}
	return parts
}

func overlap(a, b mq.Range) bool { return a.From < b.To && b.From < a.To }

// joinStats completes what a merge has counted by the bounds of the objects that
// it read, nil where those of one are not known. Of an object that gave only some
// of its sections they are wider than need be.
func joinStats(counted *ColumnStats, objects []DataFile) *ColumnStats {
	out := &ColumnStats{Misfits: counted.Misfits, nulls: counted.nulls, low: map[int][]byte{}, high: map[int][]byte{}}
	for _, f := range objects {
		if f.Columns == nil {
			return nil
		}
	}
	for i := range counted.join {
		if l := &counted.join[i]; bounded(l) {
			out.joinLeaf(l, objects)
		}
	}
	return out
}

// countNulls adds the rows that have no value in the columns with one value a row,
// as the pages' index says.
func (f *File) countNulls(leaves []typed.Leaf, into map[int]int64) error {
	from, to := f.groupRange()
	for _, rg := range f.pf.RowGroups()[from:to] {
		chunks := rg.ColumnChunks()
		count := func(id, col int) error {
			index, err := chunks[col].ColumnIndex()
			if err != nil {
				return damaged(f.data.Name, "column %d has no page index: %w", id, err)
			}
			into[id] += 0 // known, if there is none
			for p := range index.NumPages() {
				into[id] += index.NullCount(p)
			}
			return nil
		}
		if err := count(idBodyError, colBodyError); err != nil {
			return err
		}
		for i := range leaves {
			if !bounded(&leaves[i]) {
				continue
			}
			if err := count(leaves[i].ID, colFirstTyped+i); err != nil {
				return err
			}
		}
	}
	return nil
}

// groupRange gives which of the object's row groups are the file's.
func (f *File) groupRange() (from, to int) {
	for from < len(f.all) && f.all[from].from < f.data.Section.Row {
		from++
	}
	return from, from + len(f.groups)
}

// joinLeaf joins what files say of one column. A file whose values are all null
// has no bounds and needs none; one without bounds for another reason leaves
// the whole without.
func (s *ColumnStats) joinLeaf(l *typed.Leaf, files []DataFile) {
	var low, high []byte
	some, open := false, false
	for _, f := range files {
		n, ok := f.Columns.nulls[l.ID]
		if !ok {
			return
		}
		rows := f.Rows
		if f.Shared() {
			rows = f.Section.Rows
		}
		if n == rows {
			continue
		}
		from, ok := f.Columns.low[l.ID]
		to := f.Columns.high[l.ID] // both or none, see statsOf
		if !ok || !orderable(l.Type.Kind, from) || !orderable(l.Type.Kind, to) {
			open = true
			continue
		}
		if !some || below(l.Type.Kind, from, low) {
			low = from
		}
		if !some || below(l.Type.Kind, high, to) {
			high = to
		}
		some = true
	}
	if some && !open {
		s.low[l.ID], s.high[l.ID] = low, high
	}
}

// orderable reports whether a bound is one of a column of a kind.
func orderable(k typed.Kind, b []byte) bool {
	switch k {
	case typed.Int, typed.Date, typed.Float:
		return len(b) == 4
	case typed.Decimal:
		return len(b) >= 1 && len(b) <= 8
	case typed.String:
		return true
	}
	return len(b) == 8
}

// below compares two bounds of a column of a kind.
func below(k typed.Kind, a, b []byte) bool {
	if k == typed.String {
		return bytes.Compare(a, b) < 0
	}
	return boundNumber(k, a) < boundNumber(k, b)
}

// boundNumber gives a number whose order is that of the bounds.
func boundNumber(k typed.Kind, b []byte) int64 {
	switch k {
	case typed.Int, typed.Date:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	case typed.Float:
		n, _ := ordered(k, int64(binary.LittleEndian.Uint32(b))) // no bound is no number
		return n
	case typed.Decimal:
		n := int64(int8(b[0]))
		for _, c := range b[1:] {
			n = n<<8 | int64(c)
		}
		return n
	}
	n := int64(binary.LittleEndian.Uint64(b))
	if k == typed.Double {
		n, _ = ordered(k, n)
	}
	return n
}
