package typed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/avro"
)

// avroNode is an Avro type. A type that names itself leads back to its node.
type avroNode struct {
	kind      string
	logical   string
	precision int
	scale     int
	size      int // of a fixed
	fields    []avroField
	item      *avroNode // of an array or a map
	branches  []*avroNode
	symbols   []string
}

type avroField struct {
	name    string
	aliases []string
	doc     string
	node    *avroNode
}

// avroWriter is one version of a schema: bodies are read by the one that they
// were written with.
type avroWriter struct {
	root        *avroNode
	fingerprint [8]byte // CRC-64-AVRO, as single-object encoding has it
}

func parseAvro(document []byte) (avroWriter, error) {
	s, err := avro.Parse(string(document))
	if err != nil {
		return avroWriter{}, err
	}
	var w avroWriter
	h := avro.NewRabin()
	s.Fingerprint(h)
	binary.LittleEndian.PutUint64(w.fingerprint[:], h.Sum64())
	root := s.Root()
	b := &avroBuilder{named: map[string]*avroNode{}}
	if w.root, err = b.node(root, "", 0); err != nil {
		return avroWriter{}, err
	}
	if w.root.kind != "record" {
		return avroWriter{}, fmt.Errorf("the body must be a record, not %s", w.root.kind)
	}
	return w, nil
}

// avroBuilder resolves names.
type avroBuilder struct{ named map[string]*avroNode }

func (b *avroBuilder) node(s *avro.SchemaNode, space string, depth int) (*avroNode, error) {
	if depth > 4*maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", 4*maxDepth)
	}
	n := &avroNode{
		kind: s.Type, logical: s.LogicalType, precision: s.Precision, scale: s.Scale, size: s.Size, symbols: s.Symbols,
	}
	switch s.Type {
	case "null", "boolean", "int", "long", "float", "double", "bytes", "string":
		return n, nil
	case "record", "error", "enum", "fixed":
		return n, b.define(n, s, depth)
	case "array", "map":
		item := s.Items
		if s.Type == "map" {
			item = s.Values
		}
		var err error
		n.item, err = b.node(item, space, depth+1)
		return n, err
	case "union":
		for i := range s.Branches {
			br, err := b.node(&s.Branches[i], space, depth+1)
			if err != nil {
				return nil, err
			}
			n.branches = append(n.branches, br)
		}
		return n, nil
	}
	for _, name := range []string{s.Type, space + "." + s.Type} {
		if known := b.named[name]; known != nil {
			return known, nil
		}
	}
	return nil, fmt.Errorf("type %q is used before it is defined", s.Type)
}

// define makes a type with a name.
func (b *avroBuilder) define(n *avroNode, s *avro.SchemaNode, depth int) error {
	if n.kind == "error" {
		n.kind = "record"
	}
	space, full := s.Namespace, s.Name
	if i := strings.LastIndexByte(s.Name, '.'); i >= 0 {
		space = s.Name[:i]
	} else if space != "" {
		full = space + "." + s.Name
	}
	b.named[full] = n
	for i := range s.Fields {
		f := &s.Fields[i]
		t, err := b.node(&f.Type, space, depth+1)
		if err != nil {
			return fmt.Errorf("field %s: %w", f.Name, err)
		}
		n.fields = append(n.fields, avroField{f.Name, f.Aliases, f.Doc, t})
	}
	return nil
}

func declareAvro(document []byte) (declared, error) {
	w, err := parseAvro(document)
	if err != nil {
		return declared{}, err
	}
	a := &avroDeclared{}
	d := declared{fields: a.record(w.root, "")}
	for i := range d.fields {
		d.fields[i].Name = columnName(d.fields[i].Source, true)
	}
	d.leftOut = a.leftOut
	return d, nil
}

// avroDeclared makes columns of types.
type avroDeclared struct {
	leftOut []LeftOut
	open    []*avroNode // records that are being looked at
}

func (a *avroDeclared) record(n *avroNode, at string) (out []Field) {
	a.open = append(a.open, n)
	defer func() { a.open = a.open[:len(a.open)-1] }()
	for _, f := range n.fields {
		t, err := a.typeOf(f.node, join(at, f.name))
		if err != nil {
			a.leftOut = append(a.leftOut, LeftOut{join(at, f.name), err.Error()})
			continue
		}
		out = append(out, Field{Name: columnName(f.name, false), Source: f.name, Former: f.aliases, Doc: f.doc, Type: t})
	}
	return out
}

func (a *avroDeclared) typeOf(n *avroNode, at string) (Type, error) {
	for _, o := range a.open {
		if o == n {
			return Type{}, errors.New("its type holds itself, which no column can")
		}
	}
	switch n.kind {
	case "union":
		var one *avroNode
		for _, b := range n.branches {
			if b.kind == "null" {
				continue
			}
			if one != nil {
				return Type{}, errors.New("a union of several types, which no column can hold")
			}
			one = b
		}
		if one == nil {
			return Type{}, errors.New("it is always null")
		}
		return a.typeOf(one, at)
	case "null":
		return Type{}, errors.New("it is always null")
	case "record":
		t := Type{Kind: Struct, Fields: a.record(n, at)}
		if len(t.Fields) == 0 {
			return Type{}, errors.New("a record without a field that a column could hold")
		}
		return t, nil
	case "array":
		el, err := a.typeOf(n.item, join(at, "element"))
		return Type{Kind: List, Fields: []Field{{Name: "element", Type: el}}}, err
	case "map":
		v, err := a.typeOf(n.item, join(at, "value"))
		return Type{Kind: Map, Fields: []Field{{Name: "key", Type: Simple(String)}, {Name: "value", Type: v}}}, err
	}
	return avroSimple(n)
}

// avroSimple is the column of a type without parts. A time of day has no type
// that every engine reads, so its column is text.
func avroSimple(n *avroNode) (Type, error) {
	switch n.logical {
	case "decimal":
		return decimalOf(n.precision, n.scale)
	case "date":
		return Simple(Date), nil
	case "timestamp-millis", "timestamp-micros", "timestamp-nanos":
		return Simple(TimestampTZ), nil
	case "local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos":
		return Simple(Timestamp), nil
	case "time-millis", "time-micros":
		return Simple(String), nil
	case "uuid":
		return Simple(UUID), nil
	}
	kinds := map[string]Kind{
		"boolean": Boolean, "int": Int, "long": Long, "float": Float, "double": Double,
		"string": String, "enum": String, "bytes": Binary, "fixed": Binary,
	}
	return Simple(kinds[n.kind]), nil
}
