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

// joinColumns gives merged files the bounds of the typed columns of those in
// whose place they come.
func joinColumns(files, old []DataFile) {
	for i := range files {
		f := &files[i]
		if f.Columns == nil || f.Columns.join == nil {
			continue
		}
		var parts []DataFile
		for _, o := range old {
			if o.Queue == f.Queue && overlap(o.Offsets, f.Offsets) {
				parts = append(parts, o)
			}
		}
		f.Columns = joinStats(f.Columns.join, parts)
	}
}

func overlap(a, b mq.Range) bool { return a.From < b.To && b.From < a.To }

// joinStats gives the statistics of files' rows together, nil where those of one
// are not known.
func joinStats(leaves []typed.Leaf, files []DataFile) *ColumnStats {
	out := &ColumnStats{nulls: map[int]int64{}, low: map[int][]byte{}, high: map[int][]byte{}}
	for _, f := range files {
		if f.Columns == nil {
			return nil
		}
		out.Misfits += f.Columns.Misfits
		out.nulls[idBodyError] += f.Rows - f.Columns.Misfits
	}
	for i := range leaves {
		if l := &leaves[i]; bounded(l) {
			out.joinLeaf(l, files)
		}
	}
	return out
}

// joinLeaf joins what files say of one column. A file whose values are all null
// has no bounds and needs none; one without bounds for another reason leaves
// the whole without.
func (s *ColumnStats) joinLeaf(l *typed.Leaf, files []DataFile) {
	var nulls int64
	var low, high []byte
	some, open := false, false
	for _, f := range files {
		n, ok := f.Columns.nulls[l.ID]
		if !ok {
			return
		}
		if nulls += n; n == f.Rows {
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
	s.nulls[l.ID] = nulls
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
