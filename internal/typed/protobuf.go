package typed

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	// What descriptor sets often import and don't hold.
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
)

// Messages that stand for a single value.
const (
	protoTimestamp = "google.protobuf.Timestamp"
	protoKnown     = "google.protobuf."
)

// parseProtobuf finds a message in a FileDescriptorSet.
func parseProtobuf(document []byte, message string) (protoreflect.MessageDescriptor, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(document, &set); err != nil || len(set.File) == 0 {
		return nil, errors.Join(errors.New("not a FileDescriptorSet, as protoc --include_imports --descriptor_set_out=FILE writes it"), err)
	}
	if err := addKnown(&set); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, err
	}
	if message == "" {
		return nil, fmt.Errorf("which message the bodies are isn't said; there are %s", strings.Join(messagesOf(files), ", "))
	}
	d, err := files.FindDescriptorByName(protoreflect.FullName(message))
	if err == nil {
		if m, ok := d.(protoreflect.MessageDescriptor); ok {
			return m, nil
		}
	}
	return nil, fmt.Errorf("there is no message %q; there are %s", message, strings.Join(messagesOf(files), ", "))
}

// addKnown adds Google's own files where the set imports and doesn't hold them.
func addKnown(set *descriptorpb.FileDescriptorSet) error {
	have := map[string]bool{}
	for _, f := range set.File {
		have[f.GetName()] = true
	}
	for i := 0; i < len(set.File); i++ {
		for _, dep := range set.File[i].GetDependency() {
			if have[dep] {
				continue
			}
			known, err := protoregistry.GlobalFiles.FindFileByPath(dep)
			if err != nil {
				return fmt.Errorf("%s imports %s, which is not in the set (protoc --include_imports adds it)", set.File[i].GetName(), dep)
			}
			have[dep] = true
			set.File = append(set.File, protodesc.ToFileDescriptorProto(known))
		}
	}
	return nil
}

// messagesOf lists the messages that a body could be.
func messagesOf(files *protoregistry.Files) []string {
	var out []string
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Messages().Len() {
			if name := string(f.Messages().Get(i).FullName()); !strings.HasPrefix(name, protoKnown) {
				out = append(out, name)
			}
		}
		return true
	})
	slices.Sort(out)
	if len(out) > 20 {
		out = append(out[:20], "…")
	}
	return out
}

func declareProtobuf(document []byte, message string) (declared, error) {
	m, err := parseProtobuf(document, message)
	if err != nil {
		return declared{}, err
	}
	p := &protoDeclared{}
	d := declared{fields: p.message(m, "", true), leftOut: p.leftOut}
	return d, nil
}

// protoDeclared makes columns of messages.
type protoDeclared struct {
	leftOut []LeftOut
	open    []protoreflect.FullName
}

func (p *protoDeclared) message(m protoreflect.MessageDescriptor, at string, top bool) (out []Field) {
	p.open = append(p.open, m.FullName())
	defer func() { p.open = p.open[:len(p.open)-1] }()
	for i := range m.Fields().Len() {
		fd := m.Fields().Get(i)
		name := string(fd.Name())
		t, text, err := p.field(fd, join(at, name))
		if err != nil {
			p.leftOut = append(p.leftOut, LeftOut{join(at, name), err.Error()})
			continue
		}
		out = append(out, Field{
			Name: columnName(name, top), Source: strconv.Itoa(int(fd.Number())), Type: t, Text: text,
			Doc: strings.TrimSpace(fd.ParentFile().SourceLocations().ByDescriptor(fd).LeadingComments),
		})
	}
	return out
}

func (p *protoDeclared) field(fd protoreflect.FieldDescriptor, at string) (t Type, text bool, err error) {
	switch {
	case fd.IsMap():
		key, _, err := p.single(fd.MapKey(), at)
		if err != nil {
			return t, false, err
		}
		value, text, err := p.single(fd.MapValue(), join(at, "value"))
		return Type{Kind: Map, Fields: []Field{{Name: "key", Type: key}, {Name: "value", Type: value, Text: text}}}, false, err
	case fd.IsList():
		el, text, err := p.single(fd, join(at, "element"))
		return Type{Kind: List, Fields: []Field{{Name: "element", Type: el, Text: text}}}, false, err
	}
	return p.single(fd, at)
}

// single is the type of one value of a field. An unsigned number of 64 bits is
// a decimal: long is too short for it.
func (p *protoDeclared) single(fd protoreflect.FieldDescriptor, at string) (t Type, text bool, err error) {
	switch fd.Kind() {
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		t, err = decimalOf(20, 0)
		return t, false, err
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return p.nested(fd.Message(), at)
	}
	return Simple(protoKinds[fd.Kind()]), false, nil
}

var protoKinds = map[protoreflect.Kind]Kind{
	protoreflect.BoolKind: Boolean, protoreflect.EnumKind: String, protoreflect.StringKind: String, protoreflect.BytesKind: Binary,
	protoreflect.Int32Kind: Int, protoreflect.Sint32Kind: Int, protoreflect.Sfixed32Kind: Int,
	protoreflect.Uint32Kind: Long, protoreflect.Fixed32Kind: Long,
	protoreflect.Int64Kind: Long, protoreflect.Sint64Kind: Long, protoreflect.Sfixed64Kind: Long,
	protoreflect.FloatKind: Float, protoreflect.DoubleKind: Double,
}

func (p *protoDeclared) nested(m protoreflect.MessageDescriptor, at string) (Type, bool, error) {
	name := string(m.FullName())
	switch {
	case name == protoTimestamp:
		return Simple(TimestampTZ), false, nil
	case wrapped(m):
		return p.single(m.Fields().ByNumber(1), at)
	case name == protoKnown+"Any":
		return Type{}, false, errors.New("google.protobuf.Any may be any message")
	case strings.HasPrefix(name, protoKnown) && m.ParentFile().Package() == "google.protobuf":
		return Simple(String), true, nil // its JSON
	case slices.Contains(p.open, m.FullName()):
		return Type{}, false, errors.New("its message holds itself, which no column can")
	}
	t := Type{Kind: Struct, Fields: p.message(m, at, false)}
	if len(t.Fields) == 0 {
		return t, false, errors.New("a message without a field that a column could hold")
	}
	return t, false, nil
}

// wrapped reports whether a message is one of Google's wrappers of a value.
func wrapped(m protoreflect.MessageDescriptor) bool {
	return m.ParentFile().Path() == "google/protobuf/wrappers.proto"
}
