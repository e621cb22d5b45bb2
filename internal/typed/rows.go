package typed

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Limits of one body.
const (
	maxBody   = 4 << 20 // bytes
	maxValues = 1 << 16 // values of all columns, and elements that are passed over
	maxReason = 200     // bytes of a reason
	maxNested = 100     // depth of what is in a body, with or without columns
)

var errTooMany = fmt.Errorf("more than %d values", maxValues)

// Value is one value of a leaf, or its absence at a level.
type Value struct {
	// Num is a boolean, an integer, the bits of a float, the days of a date, the
	// microseconds of a timestamp, or the digits of a decimal of at most 18.
	Num int64
	// Bytes are a string, binary, a UUID or the digits of a larger decimal, two's
	// complement, the highest first.
	Bytes []byte
	Rep   uint8
	Def   uint8 // below the leaf's MaxDef there is no value
}

// Rows are decoded bodies, a slice of values for each leaf.
type Rows struct {
	cols    [][]Value
	marks   []int // where the row that is being appended begins
	left    int   // values that it may still have
	scratch []byte
}

// Leaf gives the values of a leaf, those of all rows.
func (r *Rows) Leaf(i int) []Value { return r.cols[i] }

// Reset lets go of all rows.
func (r *Rows) Reset() {
	for i, c := range r.cols {
		clear(c)
		if cap(c) > maxValues {
			c = nil
		}
		r.cols[i] = c[:0]
	}
	r.scratch = r.scratch[:0]
	if cap(r.scratch) > maxBody {
		r.scratch = nil
	}
}

func (r *Rows) begin() {
	r.left = maxValues
	for i, c := range r.cols {
		r.marks[i] = len(c)
	}
}

func (r *Rows) undo() {
	for i, c := range r.cols {
		clear(c[r.marks[i]:])
		r.cols[i] = c[:r.marks[i]]
	}
}

// spend counts values against the row's limit.
func (r *Rows) spend(n int) error {
	if r.left -= n; r.left < 0 {
		return errTooMany
	}
	return nil
}

// nulls says that a node has no value, at the level up to which there is one.
func (r *Rows) nulls(n *node, rep, def int) {
	for i := n.low; i < n.end; i++ {
		r.cols[i] = append(r.cols[i], Value{Rep: uint8(rep), Def: uint8(def)})
	}
}

func (r *Rows) num(n *node, rep int, v int64) {
	r.cols[n.low] = append(r.cols[n.low], Value{Num: v, Rep: uint8(rep), Def: uint8(n.def)})
}

func (r *Rows) bytes(n *node, rep int, b []byte) {
	r.cols[n.low] = append(r.cols[n.low], Value{Bytes: b, Rep: uint8(rep), Def: uint8(n.def)})
}

func (r *Rows) double(n *node, rep int, f float64) error {
	if n.Type.Kind == Double {
		r.num(n, rep, int64(math.Float64bits(f)))
		return nil
	}
	if math.Abs(f) > math.MaxFloat32 && !math.IsInf(f, 0) {
		return fmt.Errorf("%v is out of the range of float", f)
	}
	r.num(n, rep, int64(math.Float32bits(float32(f))))
	return nil
}

func (r *Rows) integer(n *node, rep int, v int64) error {
	switch n.Type.Kind {
	case Int:
		if int64(int32(v)) != v {
			return fmt.Errorf("%d is out of the range of int", v)
		}
	case Float, Double:
		return r.double(n, rep, float64(v))
	case Decimal:
		return r.decimalOf(n, rep, decimal{digits: bigInt(v)})
	}
	r.num(n, rep, v)
	return nil
}

// inField adds the field to where an error was met.
func inField(f *Field, err error) error {
	var in *fieldError
	if errors.As(err, &in) {
		in.path = append(in.path, f.Name)
		return err
	}
	return &fieldError{path: []string{f.Name}, err: err}
}

// fieldError is why a field doesn't fit; its path is the innermost first.
type fieldError struct {
	path []string
	err  error
}

func (e *fieldError) Error() string {
	var b strings.Builder
	for i := len(e.path) - 1; i >= 0; i-- {
		if b.WriteString(e.path[i]); i > 0 {
			b.WriteByte('.')
		}
	}
	return b.String() + ": " + e.err.Error()
}

func (e *fieldError) Unwrap() error { return e.err }

// cut gives the first bytes of a text, whole characters only.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
