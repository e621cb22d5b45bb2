package archive

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"varve/internal/mq"
	"varve/internal/typed"
)

// boundLength is how much of a text counts in its bounds, in characters.
const boundLength = 16

// typedRows makes typed columns of a batch's bodies.
type typedRows struct {
	dec     *typed.Decoder
	reasons [][]byte // of each row of the batch, nil where the body fits
	bounds  []leafBounds
	misfits int64 // rows of the file with a reason
	rows    int64
}

func newTypedRows(l *typed.Layout) *typedRows { return &typedRows{dec: l.NewDecoder()} }

// begin begins a file.
func (t *typedRows) begin() {
	t.bounds = make([]leafBounds, len(t.dec.Layout().Leaves))
	t.misfits, t.rows = 0, 0
	t.clear()
}

// clear lets go of a batch.
func (t *typedRows) clear() {
	t.dec.Reset()
	clear(t.reasons)
	t.reasons = t.reasons[:0]
}

// add takes a row's body apart.
func (t *typedRows) add(r *row) {
	var reason string
	switch {
	case r.erased != nil:
		t.dec.Skip("") // erased_hash says it, and the body that was there may have fitted
	case r.sysFlag&mq.SysCompressed != 0:
		reason = t.dec.Skip("it is compressed and can't be inflated")
	default:
		reason = t.dec.Append(r.body)
	}
	t.rows++
	if reason == "" {
		t.reasons = append(t.reasons, nil)
		return
	}
	t.misfits++
	t.reasons = append(t.reasons, text([]byte(reason)))
}

// flushTyped gives the batch's typed values to the column writers.
func (w *FileWriter) flushTyped() error {
	w.values = w.values[:0]
	for _, reason := range w.typed.reasons {
		w.values = optional(w.values, reason)
	}
	if _, err := w.cols[colBodyError].WriteRowValues(w.values); err != nil {
		return err
	}
	leaves := w.typed.dec.Layout().Leaves
	for i := range leaves {
		values := w.typed.dec.Leaf(i)
		w.values = appendTyped(w.values[:0], &leaves[i], values)
		if _, err := w.cols[colFirstTyped+i].WriteRowValues(w.values); err != nil {
			return err
		}
		w.typed.bounds[i].see(&leaves[i], values)
	}
	return nil
}

func appendTyped(dst []parquet.Value, l *typed.Leaf, values []typed.Value) []parquet.Value {
	kind := l.Type.Kind
	if kind == typed.Decimal {
		switch p := l.Type.Precision; {
		case p <= 9:
			kind = typed.Int
		case p <= 18:
			kind = typed.Long
		}
	}
	for i := range values {
		v := &values[i]
		dst = append(dst, parquet.Value{})
		p := &dst[len(dst)-1]
		if int(v.Def) == l.MaxDef {
			switch kind {
			case typed.Boolean:
				*p = parquet.BooleanValue(v.Num != 0)
			case typed.Int, typed.Date:
				*p = parquet.Int32Value(int32(v.Num))
			case typed.Long, typed.Timestamp, typed.TimestampTZ:
				*p = parquet.Int64Value(v.Num)
			case typed.Float:
				*p = parquet.FloatValue(math.Float32frombits(uint32(v.Num)))
			case typed.Double:
				*p = parquet.DoubleValue(math.Float64frombits(uint64(v.Num)))
			case typed.UUID, typed.Decimal:
				*p = parquet.FixedLenByteArrayValue(v.Bytes)
			default:
				*p = parquet.ByteArrayValue(v.Bytes)
			}
		}
		p.SetRepetitionLevel(int(v.Rep))
		p.SetDefinitionLevel(int(v.Def))
	}
	return dst
}

// leafBounds are the lowest and the highest value of a leaf in a file.
type leafBounds struct {
	some     bool
	without  bool // a value that has no place in an order
	nulls    int64
	low, top int64
	first    []byte
	last     []byte
}

// bounded reports whether a leaf's bounds are worth noting: one value a row, in
// an order that every engine knows.
func bounded(l *typed.Leaf) bool {
	switch l.Type.Kind {
	case typed.Int, typed.Long, typed.Date, typed.Timestamp, typed.TimestampTZ, typed.Float, typed.Double:
		return l.MaxRep == 0
	case typed.String:
		return l.MaxRep == 0 && !l.Text
	case typed.Decimal:
		return l.MaxRep == 0 && l.Type.Precision <= 18
	}
	return false
}

func (b *leafBounds) see(l *typed.Leaf, values []typed.Value) {
	if !bounded(l) {
		return
	}
	for i := range values {
		v := &values[i]
		switch {
		case int(v.Def) < l.MaxDef:
			b.nulls++
		case l.Type.Kind == typed.String:
			if !b.some || bytes.Compare(v.Bytes, b.first) < 0 {
				b.first = append(b.first[:0], v.Bytes...)
			}
			if !b.some || bytes.Compare(v.Bytes, b.last) > 0 {
				b.last = append(b.last[:0], v.Bytes...)
			}
			b.some = true
		default:
			n, ok := ordered(l.Type.Kind, v.Num)
			if !ok {
				b.without = true
				continue
			}
			if !b.some {
				b.low, b.top, b.some = n, n, true
			}
			b.low, b.top = min(b.low, n), max(b.top, n)
		}
	}
}

// ordered gives a number whose order is that of the values: a float's bits
// count downward below zero. What isn't a number has no place.
func ordered(k typed.Kind, v int64) (int64, bool) {
	switch k {
	case typed.Double:
		if f := math.Float64frombits(uint64(v)); math.IsNaN(f) {
			return 0, false
		}
		if v < 0 {
			return math.MinInt64 - v, true
		}
	case typed.Float:
		f := math.Float32frombits(uint32(v))
		if f != f {
			return 0, false
		}
		if b := int32(uint32(v)); b < 0 {
			return int64(math.MinInt32) - int64(b), true
		}
	}
	return v, true
}

// ColumnStats are the bounds of a file's typed columns.
type ColumnStats struct {
	// Misfits is how many rows have a reason instead of typed columns.
	Misfits int64
	nulls   map[int]int64
	low     map[int][]byte
	high    map[int][]byte
	// join has the columns of a merged file whose bounds are to be taken from
	// those in whose place it comes; else nil.
	join []typed.Leaf
}

// stats gives what the manifest says of the typed columns.
func (t *typedRows) stats() *ColumnStats {
	s := &ColumnStats{Misfits: t.misfits, nulls: map[int]int64{}, low: map[int][]byte{}, high: map[int][]byte{}}
	s.nulls[idBodyError] = t.rows - t.misfits
	for i := range t.bounds {
		b, l := &t.bounds[i], &t.dec.Layout().Leaves[i]
		if !bounded(l) {
			continue
		}
		s.nulls[l.ID] = b.nulls
		if b.without || !b.some {
			continue
		}
		if low, high, ok := b.encode(l.Type); ok {
			s.low[l.ID], s.high[l.ID] = low, high
		}
	}
	return s
}

// encode gives the bounds in Iceberg's single-value form.
func (b *leafBounds) encode(t typed.Type) (low, high []byte, ok bool) {
	switch t.Kind {
	case typed.String:
		low = []byte(firstRunes(b.first, boundLength))
		high, ok = above(b.last, boundLength)
		return low, high, ok
	case typed.Int, typed.Date:
		return int32Bytes(int32(b.low)), int32Bytes(int32(b.top)), true
	case typed.Float:
		return floatBytes(b.low), floatBytes(b.top), true
	case typed.Double:
		return doubleBytes(b.low), doubleBytes(b.top), true
	case typed.Decimal:
		return shortest(b.low), shortest(b.top), true
	}
	return int64Bytes(b.low), int64Bytes(b.top), true
}

func doubleBytes(n int64) []byte {
	if n < 0 {
		n = math.MinInt64 - n
	}
	return int64Bytes(n)
}

func floatBytes(n int64) []byte {
	if n < 0 {
		n = int64(math.MinInt32) - n
	}
	return int32Bytes(int32(n))
}

// shortest is a number in two's complement, the highest byte first, in as few
// bytes as hold it.
func shortest(v int64) []byte {
	out := binary.BigEndian.AppendUint64(nil, uint64(v))
	for len(out) > 1 && (out[0] == 0 && out[1] < 0x80 || out[0] == 0xFF && out[1] >= 0x80) {
		out = out[1:]
	}
	return out
}

// firstRunes gives at most n characters.
func firstRunes(b []byte, n int) []byte {
	at := 0
	for ; n > 0 && at < len(b); n-- {
		_, size := utf8.DecodeRune(b[at:])
		at += size
	}
	return b[:at]
}

// above gives a text of at most n characters that is not below b; ok is false
// where there is none.
func above(b []byte, n int) (out []byte, ok bool) {
	head := firstRunes(b, n)
	if len(head) == len(b) {
		return bytes.Clone(b), true
	}
	runes := []rune(string(head))
	for i := len(runes) - 1; i >= 0; i-- {
		next := runes[i] + 1
		if next == 0xD800 {
			next = 0xE000
		}
		if next <= utf8.MaxRune {
			return []byte(string(append(runes[:i], next))), true
		}
	}
	return nil, false
}

// describe adds the typed columns to an entry of a manifest.
func (c *ColumnStats) describe(rows int64, counts, nulls map[int]int64, low, high map[int][]byte) {
	for id, n := range c.nulls {
		counts[id], nulls[id] = rows, n
	}
	for id, b := range c.low {
		low[id], high[id] = b, c.high[id]
	}
}
