package typed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// object is a JSON object with its keys in order.
type object struct {
	keys   []string
	values map[string]json.RawMessage
}

func (o *object) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.Join(errors.New("not an object"), err)
	}
	o.values = map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string) // what stands before a colon
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return err
		}
		if _, twice := o.values[key]; !twice {
			o.keys = append(o.keys, key)
		}
		o.values[key] = v
	}
	return nil
}

// subschema is what of a JSON Schema says something about columns. Whatever
// only narrows values (minimum, pattern, enum …) is the producers' affair.
type subschema struct {
	Ref                  string            `json:"$ref"`
	Type                 json.RawMessage   `json:"type"`
	Format               string            `json:"format"`
	ContentEncoding      string            `json:"contentEncoding"`
	Description          string            `json:"description"`
	IcebergType          string            `json:"x-iceberg-type"`
	Enum                 []json.RawMessage `json:"enum"`
	Const                json.RawMessage   `json:"const"`
	AnyOf                []json.RawMessage `json:"anyOf"`
	OneOf                []json.RawMessage `json:"oneOf"`
	AllOf                []json.RawMessage `json:"allOf"`
	Properties           *object           `json:"properties"`
	Required             []string          `json:"required"`
	AdditionalProperties json.RawMessage   `json:"additionalProperties"`
	Items                json.RawMessage   `json:"items"`
	PrefixItems          json.RawMessage   `json:"prefixItems"`
}

// jsonDeclared parses one JSON Schema.
type jsonDeclared struct {
	root json.RawMessage
	refs []string // that are being followed
}

func declareJSON(document []byte) (declared, error) {
	if !json.Valid(document) {
		var v any
		return declared{}, fmt.Errorf("not JSON: %w", json.Unmarshal(document, &v))
	}
	p := &jsonDeclared{root: document}
	f, err := p.field(document, "", 0)
	if err != nil {
		return declared{}, err
	}
	if f.Type.Kind != Struct {
		return declared{}, errors.New("the body must be an object with properties")
	}
	for i := range f.Type.Fields {
		f.Type.Fields[i].Name = columnName(f.Type.Fields[i].Source, true)
	}
	return declared{fields: f.Type.Fields}, nil
}

// text is the column of what has no type of its own: the value's JSON.
func text() Field { return Field{Type: Simple(String), Text: true} }

// field gives a schema's type; the name is the caller's. Must says that null is
// not allowed.
func (p *jsonDeclared) field(raw json.RawMessage, at string, depth int) (Field, error) {
	if depth > 4*maxDepth {
		return Field{}, fmt.Errorf("%s: nested deeper than %d", at, maxDepth)
	}
	if t := bytes.TrimSpace(raw); len(t) > 0 && t[0] != '{' {
		if string(t) == "true" || string(t) == "false" {
			return text(), nil
		}
		return Field{}, fmt.Errorf("%s: a schema is an object", where(at))
	}
	var s subschema
	if err := json.Unmarshal(raw, &s); err != nil {
		return Field{}, fmt.Errorf("%s: %w", where(at), err)
	}
	f, err := p.shape(s, at, depth)
	if err == nil && s.Description != "" {
		f.Doc = s.Description
	}
	return f, err
}

func where(at string) string {
	if at == "" {
		return "the schema"
	}
	return "field " + at
}

func (p *jsonDeclared) shape(s subschema, at string, depth int) (Field, error) {
	switch {
	case s.IcebergType != "":
		t, err := parseType(s.IcebergType)
		if err != nil {
			return Field{}, fmt.Errorf("%s: x-iceberg-type: %w", where(at), err)
		}
		return Field{Type: t, Must: true}, nil
	case s.Ref != "":
		return p.follow(s.Ref, at, depth)
	case len(s.AnyOf) > 0:
		return p.oneOf(s.AnyOf, at, depth)
	case len(s.OneOf) > 0:
		return p.oneOf(s.OneOf, at, depth)
	case len(s.AllOf) > 0:
		return p.allOf(s, at, depth)
	}
	types, null, err := s.types(at)
	if err != nil {
		return Field{}, err
	}
	f := text()
	if len(types) == 1 {
		if f, err = p.single(types[0], s, at, depth); err != nil {
			return Field{}, err
		}
	}
	f.Must = !null
	return f, nil
}

// types gives the types that are allowed besides null.
func (s subschema) types(at string) (types []string, null bool, err error) {
	var one string
	switch {
	case len(s.Type) == 0:
		return s.implied(), s.Const == nil && s.Enum == nil, nil
	case json.Unmarshal(s.Type, &one) == nil:
		types = []string{one}
	case json.Unmarshal(s.Type, &types) != nil || len(types) == 0:
		return nil, false, fmt.Errorf("%s: type is %.40s, want a name or a list of names", where(at), s.Type)
	}
	for _, t := range types {
		if !slices.Contains([]string{"null", "boolean", "integer", "number", "string", "array", "object"}, t) {
			return nil, false, fmt.Errorf("%s: no type is called %q in JSON Schema", where(at), t)
		}
	}
	null = slices.Contains(types, "null")
	types = slices.DeleteFunc(types, func(t string) bool { return t == "null" })
	if len(types) == 2 && slices.Contains(types, "integer") && slices.Contains(types, "number") {
		types = []string{"number"}
	}
	return types, null, nil
}

// implied is the type that the other words ask for.
func (s subschema) implied() []string {
	all := s.Enum
	if s.Const != nil {
		all = []json.RawMessage{s.Const}
	}
	switch {
	case s.Properties != nil:
		return []string{"object"}
	case len(s.Items) > 0:
		return []string{"array"}
	case len(all) > 0 && !slices.ContainsFunc(all, func(v json.RawMessage) bool { return v[0] != '"' }):
		return []string{"string"}
	}
	return nil
}

func (p *jsonDeclared) single(typ string, s subschema, at string, depth int) (Field, error) {
	switch typ {
	case "boolean":
		return Field{Type: Simple(Boolean)}, nil
	case "integer":
		if s.Format == "int32" {
			return Field{Type: Simple(Int)}, nil
		}
		return Field{Type: Simple(Long)}, nil
	case "number":
		if s.Format == "float" {
			return Field{Type: Simple(Float)}, nil
		}
		return Field{Type: Simple(Double)}, nil
	case "string":
		return Field{Type: Simple(stringKind(s))}, nil
	case "array":
		return p.array(s, at, depth)
	default:
		return p.object(s, at, depth)
	}
}

func stringKind(s subschema) Kind {
	switch {
	case s.ContentEncoding == "base64":
		return Binary
	case s.Format == "date":
		return Date
	case s.Format == "date-time":
		return TimestampTZ
	case s.Format == "uuid":
		return UUID
	}
	return String
}

func (p *jsonDeclared) array(s subschema, at string, depth int) (Field, error) {
	if len(s.Items) == 0 || len(s.PrefixItems) > 0 {
		return text(), nil
	}
	el, err := p.field(s.Items, join(at, "element"), depth+1)
	if err != nil {
		return Field{}, err
	}
	el.Name, el.Source, el.Must = "element", "", false
	return Field{Type: Type{Kind: List, Fields: []Field{el}}}, nil
}

func (p *jsonDeclared) object(s subschema, at string, depth int) (Field, error) {
	if s.Properties == nil || len(s.Properties.keys) == 0 {
		return p.dictionary(s, at, depth)
	}
	st := Type{Kind: Struct}
	for _, key := range s.Properties.keys {
		f, err := p.field(s.Properties.values[key], join(at, key), depth+1)
		if err != nil {
			return Field{}, err
		}
		f.Source, f.Name = key, columnName(key, false)
		f.Must = f.Must && slices.Contains(s.Required, key)
		st.Fields = append(st.Fields, f)
	}
	return Field{Type: st}, nil
}

// dictionary is an object whose keys are data: a map where its values have a
// type.
func (p *jsonDeclared) dictionary(s subschema, at string, depth int) (Field, error) {
	t := bytes.TrimSpace(s.AdditionalProperties)
	if len(t) == 0 || t[0] != '{' {
		return text(), nil
	}
	v, err := p.field(t, join(at, "value"), depth+1)
	if err != nil || v.Text {
		return text(), err
	}
	v.Name, v.Source, v.Must = "value", "", false
	return Field{Type: Type{Kind: Map, Fields: []Field{{Name: "key", Type: Simple(String)}, v}}}, nil
}

// follow goes to a $ref within the document. One that leads back to itself has
// no shape that columns could have.
func (p *jsonDeclared) follow(ref, at string, depth int) (Field, error) {
	if slices.Contains(p.refs, ref) {
		return text(), nil
	}
	target := p.root
	pointer, local := strings.CutPrefix(ref, "#")
	if !local || pointer != "" && pointer[0] != '/' {
		return Field{}, fmt.Errorf("%s: $ref %q is not within the document (#/$defs/…)", where(at), ref)
	}
	for _, step := range strings.Split(pointer, "/")[1:] {
		var o object
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if err := json.Unmarshal(target, &o); err != nil || o.values[step] == nil {
			return Field{}, fmt.Errorf("%s: $ref %q leads nowhere", where(at), ref)
		}
		target = o.values[step]
	}
	p.refs = append(p.refs, ref)
	defer func() { p.refs = p.refs[:len(p.refs)-1] }()
	return p.field(target, at, depth+1)
}

// oneOf is one schema or null; more of them have no type in common.
func (p *jsonDeclared) oneOf(of []json.RawMessage, at string, depth int) (Field, error) {
	var rest []json.RawMessage
	for _, o := range of {
		var s subschema
		if json.Unmarshal(o, &s) != nil || string(s.Type) != `"null"` {
			rest = append(rest, o)
		}
	}
	if len(rest) != 1 {
		return text(), nil
	}
	f, err := p.field(rest[0], at, depth+1)
	f.Must = f.Must && len(rest) == len(of)
	return f, err
}

// allOf joins the properties of objects.
func (p *jsonDeclared) allOf(s subschema, at string, depth int) (Field, error) {
	if s.Properties == nil {
		return p.joined(s.AllOf, nil, at, depth)
	}
	own, err := p.object(s, at, depth+1)
	if err != nil {
		return Field{}, err
	}
	return p.joined(s.AllOf, &own, at, depth)
}

func (p *jsonDeclared) joined(parts []json.RawMessage, all *Field, at string, depth int) (Field, error) {
	for _, part := range parts {
		f, err := p.field(part, at, depth+1)
		switch {
		case err != nil:
			return Field{}, err
		case all == nil:
			all = &f
		case all.Type.Kind != Struct || f.Type.Kind != Struct:
			return text(), nil
		default:
			all.Type.Fields = append(all.Type.Fields, f.Type.Fields...)
		}
	}
	all.Must = true
	return *all, nil
}
