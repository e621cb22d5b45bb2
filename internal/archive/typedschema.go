package archive

import (
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"varve/internal/typed"
)

// bodyError is the column that says why a body gave no typed columns.
const bodyError = "body_error"

// fileSchema is the Parquet schema of a file.
func fileSchema(l *typed.Layout) *parquet.Schema {
	if l == nil {
		return schema
	}
	return parquet.NewSchema("message", newRoot(l.Columns))
}

// typedNode is a typed column in Parquet's terms; who has it makes it optional.
func typedNode(t typed.Type) parquet.Node {
	part := func(f typed.Field) parquet.Node {
		return parquet.FieldID(parquet.Optional(typedNode(f.Type)), f.ID)
	}
	switch t.Kind {
	case typed.Struct:
		r := &root{Group: parquet.Group{}}
		var order []string
		for _, f := range t.Fields {
			r.Group[f.Name] = part(f)
			order = append(order, f.Name)
		}
		return r.inOrder(order)
	case typed.List:
		return parquet.List(part(t.Fields[0]))
	case typed.Map:
		return parquet.Map(parquet.FieldID(typedNode(t.Fields[0].Type), t.Fields[0].ID), part(t.Fields[1]))
	}
	delta := func(n parquet.Node) parquet.Node { return parquet.Encoded(n, &parquet.DeltaBinaryPacked) }
	plain := func(n parquet.Node) parquet.Node { return parquet.Encoded(n, &parquet.Plain) }
	switch t.Kind {
	case typed.Boolean:
		return plain(parquet.Leaf(parquet.BooleanType))
	case typed.Int:
		return delta(parquet.Leaf(parquet.Int32Type))
	case typed.Long:
		return delta(parquet.Leaf(parquet.Int64Type))
	case typed.Float:
		return plain(parquet.Leaf(parquet.FloatType))
	case typed.Double:
		return plain(parquet.Leaf(parquet.DoubleType))
	case typed.Decimal:
		return plain(parquet.Decimal(t.Scale, t.Precision, decimalType(t.Precision)))
	case typed.Date:
		return delta(parquet.Date())
	case typed.Timestamp:
		return delta(parquet.TimestampAdjusted(parquet.Microsecond, false))
	case typed.TimestampTZ:
		return delta(parquet.Timestamp(parquet.Microsecond))
	case typed.String:
		return plain(parquet.String())
	case typed.UUID:
		return plain(parquet.UUID())
	}
	return plain(parquet.Leaf(parquet.ByteArrayType))
}

// decimalType is what Iceberg asks for.
func decimalType(precision int) parquet.Type {
	switch {
	case precision <= 9:
		return parquet.Int32Type
	case precision <= 18:
		return parquet.Int64Type
	}
	return parquet.FixedLenByteArrayType(typed.DecimalBytes(precision))
}

// typedOptions leave out the bounds that readers would compare otherwise than
// the writer: those of bytes, and of floats that may not be numbers.
func typedOptions(l *typed.Layout) []parquet.WriterOption {
	if l == nil {
		return nil
	}
	var opts []parquet.WriterOption
	for _, leaf := range l.Leaves {
		switch {
		case leaf.Type.Kind == typed.Binary, leaf.Type.Kind == typed.UUID, leaf.Type.Kind == typed.Float, leaf.Type.Kind == typed.Double,
			leaf.Type.Kind == typed.Decimal && leaf.Type.Precision > 18, leaf.Text:
			opts = append(opts, parquet.SkipPageBounds(leaf.Path...))
		}
	}
	return opts
}

// typedFields gives a file's typed columns; they have no source in a body.
func typedFields(fields []parquet.Field, from int) ([]typed.Field, error) {
	var out []typed.Field
	for _, f := range fields {
		if f.ID() < from {
			continue
		}
		t, err := typedOf(f)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name(), err)
		}
		out = append(out, typed.Field{ID: f.ID(), Name: f.Name(), Type: t})
	}
	return out, nil
}

func typedOf(n parquet.Node) (typed.Type, error) {
	if n.Leaf() {
		return typedLeaf(n)
	}
	kind := typed.Struct
	fields := n.Fields()
	if lt := n.Type().LogicalType(); lt != nil {
		switch lt.Value.(type) {
		case *format.ListType:
			kind = typed.List
		case *format.MapType:
			kind = typed.Map
		}
	}
	if kind != typed.Struct {
		if len(fields) != 1 {
			return typed.Type{}, fmt.Errorf("a %s of %d parts", kind, len(fields))
		}
		fields = fields[0].Fields()
	}
	parts, err := typedFields(fields, typed.FirstID)
	if want := map[typed.Kind]int{typed.List: 1, typed.Map: 2}[kind]; err == nil && want > 0 && len(parts) != want {
		err = fmt.Errorf("a %s of %d parts", kind, len(parts))
	}
	return typed.Type{Kind: kind, Fields: parts}, err
}

func typedLeaf(n parquet.Node) (typed.Type, error) {
	if lt := n.Type().LogicalType(); lt != nil {
		switch v := lt.Value.(type) {
		case *format.DecimalType:
			return typed.Type{Kind: typed.Decimal, Precision: int(v.Precision), Scale: int(v.Scale)}, nil
		case *format.DateType:
			return typed.Simple(typed.Date), nil
		case *format.TimestampType:
			if v.IsAdjustedToUTC {
				return typed.Simple(typed.TimestampTZ), nil
			}
			return typed.Simple(typed.Timestamp), nil
		case *format.StringType:
			return typed.Simple(typed.String), nil
		case *format.UUIDType:
			return typed.Simple(typed.UUID), nil
		}
	}
	kinds := map[parquet.Kind]typed.Kind{
		parquet.Boolean: typed.Boolean, parquet.Int32: typed.Int, parquet.Int64: typed.Long, parquet.Float: typed.Float,
		parquet.Double: typed.Double, parquet.ByteArray: typed.Binary,
	}
	k, ok := kinds[n.Type().Kind()]
	if !ok {
		return typed.Type{}, fmt.Errorf("type %s is none of a typed column", n.Type())
	}
	return typed.Simple(k), nil
}

// icebergFields are typed columns in Iceberg's terms.
func icebergFields(fields []typed.Field) []iceberg.NestedField {
	out := make([]iceberg.NestedField, len(fields))
	for i, f := range fields {
		out[i] = iceberg.NestedField{ID: f.ID, Name: f.Name, Type: icebergType(f.Type), Doc: f.Doc}
	}
	return out
}

func icebergType(t typed.Type) iceberg.Type {
	p := iceberg.PrimitiveTypes
	switch t.Kind {
	case typed.Boolean:
		return p.Bool
	case typed.Int:
		return p.Int32
	case typed.Long:
		return p.Int64
	case typed.Float:
		return p.Float32
	case typed.Double:
		return p.Float64
	case typed.Decimal:
		return iceberg.DecimalTypeOf(t.Precision, t.Scale)
	case typed.Date:
		return p.Date
	case typed.Timestamp:
		return p.Timestamp
	case typed.TimestampTZ:
		return p.TimestampTz
	case typed.String:
		return p.String
	case typed.UUID:
		return p.UUID
	case typed.Struct:
		return &iceberg.StructType{FieldList: icebergFields(t.Fields)}
	case typed.List:
		el := t.Fields[0]
		return &iceberg.ListType{ElementID: el.ID, Element: icebergType(el.Type)}
	case typed.Map:
		k, v := t.Fields[0], t.Fields[1]
		return &iceberg.MapType{KeyID: k.ID, KeyType: icebergType(k.Type), ValueID: v.ID, ValueType: icebergType(v.Type)}
	}
	return p.Binary
}

// fromIcebergFields is the reverse, for the fields from FirstID on.
func fromIcebergFields(fields []iceberg.NestedField) ([]typed.Field, error) {
	var out []typed.Field
	for _, f := range fields {
		if f.ID < typed.FirstID {
			continue
		}
		t, err := fromIcebergType(f.Type)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.Name, err)
		}
		out = append(out, typed.Field{ID: f.ID, Name: f.Name, Type: t, Doc: f.Doc})
	}
	return out, nil
}

func fromIcebergType(t iceberg.Type) (typed.Type, error) {
	part := func(id int, name string, t iceberg.Type) iceberg.NestedField {
		return iceberg.NestedField{ID: id, Name: name, Type: t}
	}
	switch t := t.(type) {
	case *iceberg.StructType:
		parts, err := fromIcebergFields(t.FieldList)
		return typed.Type{Kind: typed.Struct, Fields: parts}, err
	case *iceberg.ListType:
		parts, err := fromIcebergFields([]iceberg.NestedField{part(t.ElementID, "element", t.Element)})
		return typed.Type{Kind: typed.List, Fields: parts}, err
	case *iceberg.MapType:
		parts, err := fromIcebergFields([]iceberg.NestedField{part(t.KeyID, "key", t.KeyType), part(t.ValueID, "value", t.ValueType)})
		return typed.Type{Kind: typed.Map, Fields: parts}, err
	case iceberg.DecimalType:
		return typed.Type{Kind: typed.Decimal, Precision: t.Precision(), Scale: t.Scale()}, nil
	}
	var k typed.Kind
	if err := k.UnmarshalText([]byte(t.Type())); err != nil {
		return typed.Type{}, fmt.Errorf("type %s is none of a typed column", t)
	}
	return typed.Simple(k), nil
}
