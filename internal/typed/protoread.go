package typed

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// protoPlan pairs a message's fields with columns.
type protoPlan struct {
	message protoreflect.MessageDescriptor
	root    *protoNode
}

type protoNode struct {
	*node
	fd     protoreflect.FieldDescriptor // nil for the body
	fields []*protoNode                 // of a message
	value  *protoNode                   // of a list or a map
}

func planProtobuf(m protoreflect.MessageDescriptor, root *node) (*protoPlan, error) {
	r, err := protoParts(m, root, nil)
	return &protoPlan{m, r}, err
}

func protoParts(m protoreflect.MessageDescriptor, n *node, fd protoreflect.FieldDescriptor) (*protoNode, error) {
	out := &protoNode{node: n, fd: fd}
	for _, c := range n.children {
		number, err := strconv.ParseInt(c.Source, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("column %s: its field number is %q", c.Name, c.Source)
		}
		f := m.Fields().ByNumber(protoreflect.FieldNumber(number))
		if f == nil {
			return nil, fmt.Errorf("column %s: message %s has no field %d", c.Name, m.FullName(), number)
		}
		p, err := protoField(f, c)
		if err != nil {
			return nil, err
		}
		out.fields = append(out.fields, p)
	}
	return out, nil
}

func protoField(fd protoreflect.FieldDescriptor, n *node) (*protoNode, error) {
	p := &protoNode{node: n, fd: fd}
	var err error
	switch {
	case fd.IsMap() && n.Type.Kind == Map:
		p.value, err = protoSingle(fd.MapValue(), n.children[1])
	case fd.IsList() && n.Type.Kind == List:
		p.value, err = protoSingle(fd, n.children[0])
	case fd.IsMap() || fd.IsList():
		return nil, fmt.Errorf("column %s is %s, the field is repeated", n.Name, n.Type)
	default:
		return protoSingle(fd, n)
	}
	return p, err
}

func protoSingle(fd protoreflect.FieldDescriptor, n *node) (*protoNode, error) {
	if n.Type.Kind == Struct {
		if fd.Message() == nil {
			return nil, fmt.Errorf("column %s is %s, the field is no message", n.Name, n.Type)
		}
		return protoParts(fd.Message(), n, fd)
	}
	return &protoNode{node: n, fd: fd}, nil
}

func (p *protoPlan) append(d *Decoder, body []byte) error {
	m := dynamicpb.NewMessage(p.message)
	o := proto.UnmarshalOptions{RecursionLimit: maxNested, DiscardUnknown: true}
	if err := o.Unmarshal(body, m); err != nil {
		return fmt.Errorf("not a %s: %w", p.message.FullName(), err)
	}
	return p.root.parts(d, m, 0)
}

// parts appends a message's fields.
func (p *protoNode) parts(d *Decoder, m protoreflect.Message, rep int) error {
	for _, f := range p.fields {
		if err := d.spend(1); err != nil {
			return err
		}
		if f.fd.HasPresence() && !m.Has(f.fd) {
			d.nulls(f.node, rep, p.def)
			continue
		}
		v := m.Get(f.fd)
		var err error
		switch {
		case f.value != nil && f.fd.IsMap():
			err = f.dictionary(d, v.Map(), rep)
		case f.value != nil:
			err = f.list(d, v.List(), rep)
		default:
			err = f.single(d, v, rep)
		}
		if err != nil {
			return inField(f.Field, err)
		}
	}
	return nil
}

// list appends a repeated field; one without elements is an empty list, as
// Protobuf doesn't know an absent one.
func (p *protoNode) list(d *Decoder, l protoreflect.List, rep int) error {
	if l.Len() == 0 {
		d.nulls(p.node, rep, p.def)
		return nil
	}
	for i := range l.Len() {
		if err := d.spend(1); err != nil {
			return err
		}
		if err := p.value.single(d, l.Get(i), rep); err != nil {
			return err
		}
		rep = p.rep
	}
	return nil
}

func (p *protoNode) dictionary(d *Decoder, m protoreflect.Map, rep int) (err error) {
	if m.Len() == 0 {
		d.nulls(p.node, rep, p.def)
		return nil
	}
	key := &protoNode{node: p.children[0], fd: p.fd.MapKey()}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		if err = d.spend(1); err == nil {
			err = key.single(d, k.Value(), rep)
		}
		if err == nil {
			err = p.value.single(d, v, rep)
		}
		rep = p.rep
		return err == nil
	})
	return err
}

func (p *protoNode) single(d *Decoder, v protoreflect.Value, rep int) error {
	switch p.fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return p.nested(d, v.Message(), rep)
	case protoreflect.BoolKind:
		var b int64
		if v.Bool() {
			b = 1
		}
		d.num(p.node, rep, b)
		return nil
	case protoreflect.EnumKind:
		name := strconv.Itoa(int(v.Enum()))
		if e := p.fd.Enum().Values().ByNumber(v.Enum()); e != nil {
			name = string(e.Name())
		}
		d.bytes(p.node, rep, []byte(name))
		return nil
	case protoreflect.StringKind:
		s := []byte(v.String())
		if !utf8.Valid(s) {
			return errors.New("a string that is not UTF-8")
		}
		d.bytes(p.node, rep, s)
		return nil
	case protoreflect.BytesKind:
		d.bytes(p.node, rep, v.Bytes())
		return nil
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return d.double(p.node, rep, v.Float())
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return d.integer(p.node, rep, int64(v.Uint()))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return d.decimalOf(p.node, rep, decimal{digits: new(big.Int).SetUint64(v.Uint())})
	}
	return d.integer(p.node, rep, v.Int())
}

func (p *protoNode) nested(d *Decoder, m protoreflect.Message, rep int) error {
	desc := m.Descriptor()
	switch {
	case p.Text:
		b, err := protojson.Marshal(m.Interface())
		if err != nil {
			return errors.New("its message has no JSON form")
		}
		d.bytes(p.node, rep, b)
		return nil
	case desc.FullName() == protoTimestamp:
		seconds := m.Get(desc.Fields().ByNumber(1)).Int()
		nanos := m.Get(desc.Fields().ByNumber(2)).Int()
		if seconds < minMicros/1_000_000 || seconds > maxMicros/1_000_000 {
			return errors.New("a time outside of the years 1 to 9999")
		}
		return d.micros(p.node, rep, seconds*1_000_000+floorDiv(nanos, 1000))
	case wrapped(desc):
		fd := desc.Fields().ByNumber(1)
		return (&protoNode{node: p.node, fd: fd}).single(d, m.Get(fd), rep)
	}
	return p.parts(d, m, rep)
}
