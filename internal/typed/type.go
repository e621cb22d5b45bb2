package typed

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Limits of a declared schema.
const (
	maxDocument = 256 << 10 // bytes of a declared schema
	maxLeaves   = 500       // columns of values, nested ones counted
	maxDepth    = 12        // of nested fields
	maxVersions = 100       // of a topic's schema
	maxName     = 128       // bytes of a column's name
	maxDecimal  = 38        // digits
)

// FirstID is the first id of a typed column; the row's own are below it.
const FirstID = 1000

// Kind is what the values of a column are: an Iceberg type.
type Kind uint8

// The kinds.
const (
	Boolean Kind = iota + 1
	Int
	Long
	Float
	Double
	Decimal
	Date
	Timestamp
	TimestampTZ
	String
	Binary
	UUID
	Struct
	List
	Map
)

var kindNames = map[Kind]string{
	Boolean: "boolean", Int: "int", Long: "long", Float: "float", Double: "double", Decimal: "decimal", Date: "date",
	Timestamp: "timestamp", TimestampTZ: "timestamptz", String: "string", Binary: "binary", UUID: "uuid",
	Struct: "struct", List: "list", Map: "map",
}

func (k Kind) String() string { return kindNames[k] }

// MarshalText gives the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(kindNames[k]), nil }

// UnmarshalText reads a kind's name.
func (k *Kind) UnmarshalText(text []byte) error {
	for kind, name := range kindNames {
		if name == string(text) {
			*k = kind
			return nil
		}
	}
	return fmt.Errorf("no kind of column is called %q", text)
}

// Type is a column's type.
type Type struct {
	Kind      Kind `json:"kind"`
	Precision int  `json:"precision,omitempty"` // of a decimal
	Scale     int  `json:"scale,omitempty"`     // of a decimal
	// Fields are a struct's fields, a list's element, or a map's key and value.
	Fields []Field `json:"fields,omitempty"`
}

// Field is a column or a part of one.
type Field struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
	Type Type   `json:"type"`
	Doc  string `json:"doc,omitempty"`
	// Source is the field's name in the body, for Protobuf its number. Former are
	// those that it had before: bodies of that time have them.
	Source string   `json:"source,omitempty"`
	Former []string `json:"former,omitempty"`
	// Must says that a JSON body without the field doesn't fit.
	Must bool `json:"must,omitempty"`
	// Text says that a string is the JSON text of whatever value is there.
	Text bool `json:"text,omitempty"`
}

// Simple makes a type without parts.
func Simple(k Kind) Type { return Type{Kind: k} }

// String gives the type as Iceberg writes it.
func (t Type) String() string {
	switch t.Kind {
	case Decimal:
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	case List:
		return "list<" + t.Fields[0].Type.String() + ">"
	case Map:
		return "map<" + t.Fields[0].Type.String() + ", " + t.Fields[1].Type.String() + ">"
	case Struct:
		parts := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			parts[i] = f.Name + ": " + f.Type.String()
		}
		return "struct<" + strings.Join(parts, ", ") + ">"
	}
	return t.Kind.String()
}

var decimalType = regexp.MustCompile(`^decimal\( *(\d{1,3}) *, *(\d{1,3}) *\)$`)

// parseType reads the name of a type without parts.
func parseType(s string) (Type, error) {
	if m := decimalType.FindStringSubmatch(s); m != nil {
		p, _ := strconv.Atoi(m[1]) // three digits
		sc, _ := strconv.Atoi(m[2])
		return decimalOf(p, sc)
	}
	for k, name := range kindNames {
		if name == s && k < Struct && k != Decimal {
			return Simple(k), nil
		}
	}
	return Type{}, fmt.Errorf("no column type is called %q", s)
}

func decimalOf(precision, scale int) (Type, error) {
	if precision < 1 || precision > maxDecimal || scale < 0 || scale > precision {
		return Type{}, fmt.Errorf("decimal(%d,%d): 1 to %d digits, and no more of them behind the point", precision, scale, maxDecimal)
	}
	return Type{Kind: Decimal, Precision: precision, Scale: scale}, nil
}

// Equal reports whether two types hold the same under the same ids and names.
func (t Type) Equal(u Type) bool {
	if t.Kind != u.Kind || t.Precision != u.Precision || t.Scale != u.Scale || len(t.Fields) != len(u.Fields) {
		return false
	}
	return SameColumns(t.Fields, u.Fields)
}

// SameColumns reports whether columns have the same ids, names and types.
func SameColumns(a, b []Field) bool {
	return slices.EqualFunc(a, b, func(x, y Field) bool { return x.ID == y.ID && x.Name == y.Name && x.Type.Equal(y.Type) })
}

// Widens reports whether a column of type t may become one of type u, by
// Iceberg's rules for types without parts.
func (t Type) Widens(u Type) bool {
	switch {
	case t.Kind == Int && u.Kind == Long, t.Kind == Float && u.Kind == Double:
		return true
	case t.Kind == Decimal && u.Kind == Decimal:
		return u.Scale == t.Scale && u.Precision >= t.Precision
	}
	return t.Kind == u.Kind
}

// leaves counts the columns of values below fields.
func leaves(fields []Field) (n int) {
	for _, f := range fields {
		if f.Type.Kind < Struct {
			n++
		} else {
			n += leaves(f.Type.Fields)
		}
	}
	return n
}

// reserved are the names that a typed column can't have: those of the row, and
// those that SQL adds.
var reserved = map[string]bool{}

func init() {
	for name := range strings.FieldsSeq(`topic broker queue_id queue_offset store_time born_time msg_id keys tag properties body
		reconsume_times sys_flag flag body_crc born_host store_host physical_offset prepared_transaction_offset body_encoding
		erased_hash stored_form body_error key body_text body_json`) {
		reserved[name] = true
	}
}

// columnName makes a name of a body's field: letters, digits and underscores,
// so that every engine takes it without quotes.
func columnName(source string, top bool) string {
	var b strings.Builder
	for _, r := range source {
		switch {
		case r == '_', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9' && b.Len() > 0, r >= 0x80:
			b.WriteRune(r)
		case r >= '0' && r <= '9':
			b.WriteString("_" + string(r))
		default:
			b.WriteByte('_')
		}
	}
	name := b.String()
	if name == "" {
		name = "_"
	}
	if top && reserved[strings.ToLower(name)] {
		name = "body_" + name
	}
	return name
}

// checkFields refuses names that engines can't tell apart, and what is too
// much.
func checkFields(fields []Field, at string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("field %s: nested deeper than %d", at, maxDepth)
	}
	seen := map[string]string{}
	for _, f := range fields {
		where := join(at, f.Name)
		if len(f.Name) > maxName {
			return fmt.Errorf("field %.40s…: its name is longer than %d bytes", where, maxName)
		}
		low := strings.ToLower(f.Name)
		if at == "" && reserved[low] {
			return fmt.Errorf("field %s: every table has a column of that name", where)
		}
		if other, twice := seen[low]; twice {
			return fmt.Errorf("fields %q and %q of the body would both be column %s", other, f.Source, where)
		}
		seen[low] = f.Source
		if err := checkFields(f.Type.Fields, where, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}
