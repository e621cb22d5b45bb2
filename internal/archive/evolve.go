package archive

import (
	"context"
	"fmt"
	"strconv"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"varve/internal/typed"
)

// Typed is what the table has of typed columns, as of the newest version that
// this process knows.
func (t *Table) Typed() (typed.Table, error) {
	meta := t.current().meta
	columns, err := fromIcebergFields(meta.CurrentSchema().Fields())
	if err != nil {
		return typed.Table{}, fmt.Errorf("schema of %s: %w", t.root, err)
	}
	return typed.Table{Columns: columns, LastID: meta.LastColumnID(), Version: schemaVersion(meta)}, nil
}

func schemaVersion(meta table.Metadata) int {
	v, _ := strconv.Atoi(meta.Properties()[propSchema]) // 0 where there is none
	return v
}

// Evolve gives the table the columns of a version of the topic's schema, before
// the first file with them is committed. A table that has a later version's stays
// as it is, as long as files of this one can be read by it. ErrSchema says that
// the table has a column that can't become the schema's.
func (t *Table) Evolve(ctx context.Context, l *typed.Layout) error {
	if done, err := evolved(t.current().meta, l); err == nil && done {
		return nil
	}
	fail := func(err error) error {
		return fmt.Errorf("give %s the columns of schema version %d: %w", t.root, l.Version, err)
	}
	if err := t.turn.take(ctx, t.archive.away); err != nil {
		return fail(err)
	}
	defer t.turn.leave()
	_, err := t.commit(ctx, func(st *state) (*change, error) {
		done, err := evolved(st.meta, l)
		if err != nil {
			return nil, err
		}
		if done {
			return nil, errApplied
		}
		return t.withSchema(st, l)
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

// evolved reports whether a table's columns are those of a version, or of a
// later one that follows it.
func evolved(meta table.Metadata, l *typed.Layout) (bool, error) {
	want := map[int]typed.Type{}
	typesOf(l.Columns, want)
	for _, s := range meta.Schemas() {
		have, err := fromIcebergFields(s.Fields())
		if err != nil {
			return false, err
		}
		types := map[int]typed.Type{}
		typesOf(have, types)
		for id, is := range types {
			will, both := want[id]
			if both && !is.Widens(will) && !will.Widens(is) {
				return false, fmt.Errorf("%w: column %d is %s there and %s in the schema", ErrSchema, id, is, will)
			}
		}
	}
	if schemaVersion(meta) < l.Version {
		return false, nil
	}
	have, err := fromIcebergFields(meta.CurrentSchema().Fields())
	if err != nil {
		return false, err
	}
	types := map[int]typed.Type{}
	typesOf(have, types)
	for id, is := range types {
		if will, both := want[id]; both && !will.Widens(is) {
			return false, fmt.Errorf("%w: column %d is %s there and %s in the schema", ErrSchema, id, is, will)
		}
	}
	return true, nil
}

// typesOf collects the types of fields and their parts by id.
func typesOf(fields []typed.Field, into map[int]typed.Type) {
	for _, f := range fields {
		into[f.ID] = f.Type
		typesOf(f.Type.Fields, into)
	}
}

// withSchema is a change of the schema alone.
func (t *Table) withSchema(st *state, l *typed.Layout) (*change, error) {
	loc := t.location(st.meta)
	b, err := table.MetadataBuilderFromBase(st.meta, loc.path(t.root+"/"+versionName(st.version)))
	if err != nil {
		return nil, err
	}
	more := append([]iceberg.NestedField{{
		ID: idBodyError, Name: bodyError, Type: iceberg.PrimitiveTypes.String,
		Doc: "why the body gave no typed columns",
	}}, icebergFields(l.Columns)...)
	if err := b.AddSchema(tableSchema(more...)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSchema, err)
	}
	if err := b.SetCurrentSchemaID(-1); err != nil {
		return nil, err
	}
	if err := b.SetProperties(iceberg.Properties{propSchema: strconv.Itoa(l.Version)}); err != nil {
		return nil, err
	}
	meta, err := b.Build()
	return &change{meta: meta, manifests: st.manifests}, err
}

// TypedColumns are the file's typed columns, none where it has none.
func (f *File) TypedColumns() ([]typed.Field, error) {
	columns, err := typedFields(f.pf.Schema().Fields(), typed.FirstID)
	if err != nil {
		return nil, damaged(f.data.Name, "%w", err)
	}
	return columns, nil
}

// layout gives the file's typed columns and the schema's version that it was
// written by; nil where it has none.
func (f *File) layout() (*typed.Layout, error) {
	columns, err := f.TypedColumns()
	if err != nil || len(columns) == 0 {
		return nil, err
	}
	text, _ := f.pf.Lookup(metaSchema)
	version, err := strconv.Atoi(text)
	if err != nil {
		return nil, damaged(f.data.Name, "%s: %w", metaSchema, err)
	}
	return &typed.Layout{Topic: f.data.Queue.Topic, Version: version, Columns: columns, Leaves: typed.Leaves(columns)}, nil
}
