package typed

import (
	"fmt"
)

// Layout is the typed columns of a topic's files, and how bodies are read for
// them. It is never changed.
type Layout struct {
	Topic   string
	Version int
	Columns []Field
	// Leaves are the columns of values, in the order of Columns.
	Leaves []Leaf

	format Format
	root   *node
	avro   []avroWriter // newest first
	proto  *protoPlan
}

// Leaf is one column of values.
type Leaf struct {
	Field
	Path   []string // as Parquet has it
	MaxDef int
	MaxRep int
}

// node is a field with the levels at which its values stand.
type node struct {
	*Field
	// def is the level at which the value is there, rep that of its repetition:
	// of a list's or a map's own elements.
	def, rep int
	low, end int // its leaves
	children []*node
	bySource map[string]int
}

// Leaves gives the columns of values of columns, in their order.
func Leaves(columns []Field) []Leaf { return newLayout(columns).Leaves }

// newLayout numbers the levels and leaves of columns.
func newLayout(columns []Field) *Layout {
	l := &Layout{Columns: columns}
	l.root = l.parts(&Field{Type: Type{Kind: Struct, Fields: columns}}, nil, 0, 0)
	return l
}

// place makes the node of a field below a definition level.
func (l *Layout) place(f *Field, path []string, def, rep int) *node {
	path = append(path[:len(path):len(path)], f.Name)
	switch f.Type.Kind {
	case Struct:
		return l.parts(f, path, def+1, rep)
	case List:
		n := &node{Field: f, def: def + 1, rep: rep + 1, low: len(l.Leaves)}
		n.children = []*node{l.place(&f.Type.Fields[0], append(path, "list"), def+2, rep+1)}
		n.end = len(l.Leaves)
		return n
	case Map:
		n := &node{Field: f, def: def + 1, rep: rep + 1, low: len(l.Leaves)}
		path = append(path, "key_value")
		key := l.leaf(&f.Type.Fields[0], append(path[:len(path):len(path)], "key"), def+2, rep+1) // a key is always there
		n.children = []*node{key, l.place(&f.Type.Fields[1], path, def+2, rep+1)}
		n.end = len(l.Leaves)
		return n
	}
	return l.leaf(f, path, def+1, rep)
}

func (l *Layout) leaf(f *Field, path []string, def, rep int) *node {
	l.Leaves = append(l.Leaves, Leaf{Field: *f, Path: path, MaxDef: def, MaxRep: rep})
	return &node{Field: f, def: def, rep: rep, low: len(l.Leaves) - 1, end: len(l.Leaves)}
}

// parts makes the node of a struct whose value is there at a level.
func (l *Layout) parts(f *Field, path []string, def, rep int) *node {
	n := &node{Field: f, def: def, rep: rep, low: len(l.Leaves), bySource: map[string]int{}}
	for i := range f.Type.Fields {
		c := &f.Type.Fields[i]
		n.children = append(n.children, l.place(c, path, def, rep))
		for _, former := range c.Former {
			if _, taken := n.bySource[former]; !taken {
				n.bySource[former] = i
			}
		}
	}
	for i := range f.Type.Fields {
		n.bySource[f.Type.Fields[i].Source] = i
	}
	n.end = len(l.Leaves)
	return n
}

// child finds the field of a name in the body, beginning at where it is likely;
// -1 for none.
func (n *node) child(name []byte, likely int) int {
	if likely < len(n.children) && n.children[likely].Source == string(name) {
		return likely
	}
	if i, ok := n.bySource[string(name)]; ok {
		return i
	}
	return -1
}

// Decoder appends bodies to Rows.
type Decoder struct {
	Rows
	layout *Layout
	json   jsonReader
	avro   avroReader
}

// NewDecoder makes a decoder with empty rows.
func (l *Layout) NewDecoder() *Decoder {
	d := &Decoder{layout: l}
	d.cols = make([][]Value, len(l.Leaves))
	d.marks = make([]int, len(l.Leaves))
	return d
}

// Layout is what the decoder was made of.
func (d *Decoder) Layout() *Layout { return d.layout }

// Append adds a body as one row. Where it doesn't fit, every column is null and
// reason says why. The rows may alias the body.
func (d *Decoder) Append(body []byte) (reason string) {
	d.begin()
	err := d.decode(body)
	if err == nil {
		return ""
	}
	return d.refuse(err.Error())
}

// Skip adds a row whose body can't be read, for a reason.
func (d *Decoder) Skip(reason string) string {
	d.begin()
	return d.refuse(reason)
}

func (d *Decoder) refuse(reason string) string {
	d.undo()
	d.nulls(d.layout.root, 0, 0)
	if len(reason) > maxReason {
		reason = cut(reason, maxReason) + "…"
	}
	return reason
}

func (d *Decoder) decode(body []byte) error {
	if len(body) > maxBody {
		return fmt.Errorf("body of %d bytes, columns are made of at most %d", len(body), maxBody)
	}
	switch d.layout.format {
	case Avro:
		return d.appendAvro(body)
	case Protobuf:
		return d.layout.proto.append(d, body)
	default:
		return d.json.append(d, body)
	}
}
