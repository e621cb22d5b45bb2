package typed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// avroReader reads an Avro body as its writer's schema says; what has no column
// is passed over.
type avroReader struct {
	d    *Decoder
	data []byte
}

var (
	errAvroEnd = errors.New("it ends too early")
	errNotAvro = errors.New("not Avro")
)

// appendAvro reads a body by the version that its header names, or else by the
// newest one that takes all of its bytes.
func (d *Decoder) appendAvro(body []byte) error {
	if len(body) >= 10 && body[0] == 0xC3 && body[1] == 0x01 {
		for _, w := range d.layout.avro {
			if bytes.Equal(body[2:10], w.fingerprint[:]) {
				return d.avro.append(d, w.root, body[10:])
			}
		}
	}
	var first error
	for _, w := range d.layout.avro {
		err := d.avro.append(d, w.root, body)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
		d.undo()
		d.left = maxValues
	}
	return first
}

func (a *avroReader) append(d *Decoder, w *avroNode, body []byte) error {
	a.d, a.data = d, body
	defer func() { a.data = nil }()
	if err := a.record(w, d.layout.root, 0, 1); err != nil {
		return fmt.Errorf("%w: %w", errNotAvro, err)
	}
	if n := len(a.data); n > 0 {
		return fmt.Errorf("%w: %d bytes follow the record", errNotAvro, n)
	}
	return nil
}

func (a *avroReader) long() (int64, error) {
	v, n := binary.Varint(a.data)
	if n <= 0 {
		return 0, errAvroEnd
	}
	a.data = a.data[n:]
	return v, nil
}

func (a *avroReader) take(n int64) ([]byte, error) {
	if n < 0 || n > int64(len(a.data)) {
		return nil, errAvroEnd
	}
	b := a.data[:n:n]
	a.data = a.data[n:]
	return b, nil
}

func (a *avroReader) sized() ([]byte, error) {
	n, err := a.long()
	if err != nil {
		return nil, err
	}
	return a.take(n)
}

func (a *avroReader) record(w *avroNode, n *node, rep, depth int) error {
	if n == nil {
		for _, f := range w.fields {
			if err := a.value(f.node, nil, 0, 0, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	next := 0
	filled := make([]bool, len(n.children))
	for _, f := range w.fields {
		var c *node
		i := n.child([]byte(f.name), next)
		for _, alias := range f.aliases {
			if i < 0 {
				i = n.child([]byte(alias), next)
			}
		}
		if i >= 0 && !filled[i] {
			c, next, filled[i] = n.children[i], i+1, true
		}
		if err := a.value(f.node, c, rep, n.def, depth+1); err != nil {
			return inField(&Field{Name: f.name}, err)
		}
	}
	for i, c := range n.children {
		if !filled[i] {
			a.d.nulls(c, rep, n.def)
		}
	}
	return nil
}

// value reads a value into a node, or past it where that is nil.
func (a *avroReader) value(w *avroNode, n *node, rep, parent, depth int) error {
	if depth > maxNested {
		return fmt.Errorf("nested deeper than %d", maxNested)
	}
	if err := a.d.spend(1); err != nil {
		return err
	}
	switch w.kind {
	case "null":
		if n != nil {
			a.d.nulls(n, rep, parent)
		}
		return nil
	case "union":
		i, err := a.long()
		if err != nil {
			return err
		}
		if i < 0 || i >= int64(len(w.branches)) {
			return fmt.Errorf("branch %d of a union of %d", i, len(w.branches))
		}
		return a.value(w.branches[i], n, rep, parent, depth+1)
	case "record":
		if n != nil && n.Type.Kind != Struct {
			return fmt.Errorf("a record, want %s", n.Type)
		}
		return a.record(w, n, rep, depth)
	case "array", "map":
		if n != nil && n.Type.Kind.String() != map[string]string{"array": "list", "map": "map"}[w.kind] {
			return fmt.Errorf("an %s, want %s", w.kind, n.Type)
		}
		return a.blocks(w, n, rep, depth)
	}
	if n != nil && n.Type.Kind >= Struct {
		return fmt.Errorf("%s, want %s", w.kind, n.Type)
	}
	return a.simple(w, n, rep)
}

// blocks reads an array or a map.
func (a *avroReader) blocks(w *avroNode, n *node, rep, depth int) error {
	at, empty := rep, true
	keys := map[string]struct{}{}
	for {
		count, err := a.long()
		if err == nil && count < 0 { // the block's length follows
			count = -count
			_, err = a.long()
		}
		if err != nil {
			return err
		}
		if count == 0 {
			break
		}
		if count < 0 || count > maxValues {
			return errTooMany
		}
		for range count {
			if err := a.entry(w, n, at, depth, keys); err != nil {
				return err
			}
			if empty = false; n != nil {
				at = n.rep
			}
		}
	}
	if empty && n != nil {
		a.d.nulls(n, rep, n.def)
	}
	return nil
}

func (a *avroReader) entry(w *avroNode, n *node, rep, depth int, keys map[string]struct{}) error {
	if w.kind == "array" {
		if n == nil {
			return a.value(w.item, nil, 0, 0, depth+1)
		}
		return a.value(w.item, n.children[0], rep, n.def+1, depth+1)
	}
	key, err := a.sized()
	if err != nil {
		return err
	}
	if n == nil {
		return a.value(w.item, nil, 0, 0, depth+1)
	}
	if !utf8.Valid(key) {
		return errors.New("a key that is not UTF-8")
	}
	if _, twice := keys[string(key)]; twice {
		return fmt.Errorf("key %.40q is there twice", key)
	}
	keys[string(key)] = struct{}{}
	a.d.bytes(n.children[0], rep, key)
	return a.value(w.item, n.children[1], rep, n.def+1, depth+1)
}

func (a *avroReader) simple(w *avroNode, n *node, rep int) error {
	switch w.kind {
	case "boolean":
		b, err := a.take(1)
		if err != nil {
			return err
		}
		if b[0] > 1 {
			return fmt.Errorf("a boolean of %d", b[0])
		}
		return a.number(w, n, rep, int64(b[0]))
	case "int", "long":
		v, err := a.long()
		if err == nil && w.kind == "int" && int64(int32(v)) != v {
			err = fmt.Errorf("an int of %d", v)
		}
		if err != nil {
			return err
		}
		return a.number(w, n, rep, v)
	case "float":
		b, err := a.take(4)
		if err != nil || n == nil {
			return err
		}
		return a.double(n, rep, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
	case "double":
		b, err := a.take(8)
		if err != nil || n == nil {
			return err
		}
		return a.double(n, rep, math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case "enum":
		i, err := a.long()
		if err != nil {
			return err
		}
		if i < 0 || i >= int64(len(w.symbols)) {
			return fmt.Errorf("symbol %d of an enum of %d", i, len(w.symbols))
		}
		return a.bytes(w, n, rep, []byte(w.symbols[i]))
	case "fixed":
		b, err := a.take(int64(w.size))
		if err != nil {
			return err
		}
		return a.bytes(w, n, rep, b)
	}
	b, err := a.sized()
	if err != nil {
		return err
	}
	return a.bytes(w, n, rep, b)
}

func (a *avroReader) double(n *node, rep int, f float64) error {
	if n.Type.Kind != Float && n.Type.Kind != Double {
		return fmt.Errorf("a float, want %s", n.Type)
	}
	return a.d.double(n, rep, f)
}

func (a *avroReader) number(w *avroNode, n *node, rep int, v int64) error {
	if n == nil {
		return nil
	}
	switch n.Type.Kind {
	case Boolean:
		a.d.num(n, rep, v)
		return nil
	case Int, Long:
		return a.d.integer(n, rep, v)
	case Float, Double:
		return a.d.double(n, rep, float64(v))
	case Date:
		return a.d.date(n, rep, v)
	case Timestamp, TimestampTZ:
		switch w.logical {
		case "timestamp-millis", "local-timestamp-millis":
			return a.d.scaled(n, rep, v, 1000)
		case "timestamp-nanos", "local-timestamp-nanos":
			v = floorDiv(v, 1000)
		}
		return a.d.micros(n, rep, v)
	case String:
		if w.logical == "time-millis" {
			v *= 1000
		}
		if v < 0 || v >= dayMicros {
			return errors.New("a time of day outside of the day")
		}
		s := v / 1_000_000
		a.d.bytes(n, rep, fmt.Appendf(nil, "%02d:%02d:%02d.%06d", s/3600, s/60%60, s%60, v%1_000_000))
		return nil
	}
	return fmt.Errorf("%s, want %s", w.kind, n.Type)
}

func (a *avroReader) bytes(w *avroNode, n *node, rep int, b []byte) error {
	if n == nil {
		return nil
	}
	switch n.Type.Kind {
	case String:
		if !utf8.Valid(b) {
			return errors.New("a string that is not UTF-8")
		}
		a.d.bytes(n, rep, b)
		return nil
	case Binary:
		a.d.bytes(n, rep, b)
		return nil
	case Decimal:
		if len(b) > 64 {
			return fmt.Errorf("a decimal of %d bytes", len(b))
		}
		return a.d.decimalOf(n, rep, decimal{digits: fromTwosComplement(b), scale: w.scale})
	case UUID:
		if w.kind == "fixed" && len(b) == 16 {
			a.d.bytes(n, rep, b)
			return nil
		}
		return a.d.fromText(n, rep, b)
	}
	return fmt.Errorf("%s, want %s", w.kind, n.Type)
}
