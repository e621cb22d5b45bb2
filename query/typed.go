package query

import (
	"fmt"
	"slices"
	"strings"

	"varve/internal/archive"
	"varve/internal/typed"
	"varve/query/wire"
)

// bodyError is the column that says why a body has no typed columns.
const bodyError = "body_error"

func (q *run) layout(topic string) *typed.Layout {
	if q.e.deps.Schemas == nil {
		return nil
	}
	return q.e.deps.Schemas.Layout(topic)
}

// columnsOf gives the typed columns that a query sees: those of the schema in
// force, or else those that the table has.
func columnsOf(l *typed.Layout, table []typed.Field) []typed.Field {
	if l != nil {
		return l.Columns
	}
	return table
}

// checkedSet is what of the files the query can read.
func checkedSet(ref wire.TableRef, columns []typed.Field) archive.ColumnSet {
	if ref.Columns == nil {
		return archive.AllColumns
	}
	set := archive.ColumnsNamed(ref.Columns)
	named := func(name string) bool { return slices.Contains(ref.Words, strings.ToLower(name)) }
	if len(columns) > 0 && (named(bodyError) || slices.ContainsFunc(columns, func(f typed.Field) bool { return named(f.Name) })) {
		set |= archive.TypedColumns
	}
	return set
}

// tableOf puts files of the same columns together. theirs are the typed columns
// of each archived file; those of the hot ones are the layout's.
func tableOf(topic string, columns []typed.Field, archived []string, theirs [][]typed.Field, hot []string, l *typed.Layout) wire.Table {
	t := wire.Table{Topic: topic}
	if len(columns) == 0 {
		if all := append(archived, hot...); len(all) > 0 {
			t.Parts = []wire.Part{{Files: all}}
		}
		return t
	}
	t.Typed = append(t.Typed, wire.Column{Name: bodyError, Type: "VARCHAR"})
	for _, c := range columns {
		t.Typed = append(t.Typed, wire.Column{Name: c.Name, Type: duckType(c.Type)})
	}
	var of [][]typed.Field // the columns of each part
	add := func(file string, fields []typed.Field) {
		i := slices.IndexFunc(of, func(have []typed.Field) bool { return typed.SameColumns(have, fields) })
		if i < 0 {
			i = len(of)
			of = append(of, fields)
			t.Parts = append(t.Parts, wire.Part{Typed: expressions(columns, fields)})
		}
		t.Parts[i].Files = append(t.Parts[i].Files, file)
	}
	for i, file := range archived {
		add(file, theirs[i])
	}
	for _, file := range hot {
		var fields []typed.Field
		if l != nil {
			fields = l.Columns
		}
		add(file, fields)
	}
	return t
}

// expressions make the table's typed columns of a file's, by their ids.
func expressions(columns, file []typed.Field) []string {
	out := make([]string, 0, len(columns)+1)
	if len(file) == 0 {
		out = append(out, "NULL::VARCHAR")
	} else {
		out = append(out, bodyError)
	}
	for _, c := range columns {
		out = append(out, part(c, file, "", 0))
	}
	return out
}

// part makes a field of those of a file or of a struct, which is an expression,
// "" for the file.
func part(f typed.Field, of []typed.Field, within string, depth int) string {
	i := slices.IndexFunc(of, func(o typed.Field) bool { return o.ID == f.ID })
	if i < 0 {
		return "NULL::" + duckType(f.Type)
	}
	name := quoted(of[i].Name)
	if within != "" {
		name = "struct_extract(" + within + ", '" + strings.ReplaceAll(of[i].Name, "'", "''") + "')"
	}
	return converted(name, of[i].Type, f.Type, depth)
}

// converted makes a value of a table's type of one of a file's.
func converted(value string, from, to typed.Type, depth int) string {
	if from.Equal(to) {
		return value
	}
	one := fmt.Sprintf("x%d", depth)
	switch {
	case from.Kind == typed.Struct && to.Kind == typed.Struct:
		parts := make([]string, len(to.Fields))
		for i, f := range to.Fields {
			parts[i] = quoted(f.Name) + " := " + part(f, from.Fields, value, depth)
		}
		return "CASE WHEN " + value + " IS NULL THEN NULL ELSE struct_pack(" + strings.Join(parts, ", ") + ") END"
	case from.Kind == typed.List && to.Kind == typed.List:
		return "list_transform(" + value + ", lambda " + one + ": " + converted(one, from.Fields[0].Type, to.Fields[0].Type, depth+1) + ")"
	case from.Kind == typed.Map && to.Kind == typed.Map:
		entry := "{'key': " + one + ".key, 'value': " + converted(one+".value", from.Fields[1].Type, to.Fields[1].Type, depth+1) + "}"
		return "map_from_entries(list_transform(map_entries(" + value + "), lambda " + one + ": " + entry + "))"
	}
	return "CAST(" + value + " AS " + duckType(to) + ")"
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

var duckTypes = map[typed.Kind]string{
	typed.Boolean: "BOOLEAN", typed.Int: "INTEGER", typed.Long: "BIGINT", typed.Float: "FLOAT", typed.Double: "DOUBLE",
	typed.Date: "DATE", typed.Timestamp: "TIMESTAMP", typed.TimestampTZ: "TIMESTAMP WITH TIME ZONE", typed.String: "VARCHAR",
	typed.Binary: "BLOB", typed.UUID: "UUID",
}

// duckType is a type as DuckDB writes it.
func duckType(t typed.Type) string {
	switch t.Kind {
	case typed.Decimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
	case typed.List:
		return duckType(t.Fields[0].Type) + "[]"
	case typed.Map:
		return "MAP(" + duckType(t.Fields[0].Type) + ", " + duckType(t.Fields[1].Type) + ")"
	case typed.Struct:
		parts := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			parts[i] = quoted(f.Name) + " " + duckType(f.Type)
		}
		return "STRUCT(" + strings.Join(parts, ", ") + ")"
	}
	return duckTypes[t.Kind]
}
