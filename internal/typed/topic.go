package typed

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// Version is one version of a topic's schema.
type Version struct {
	Number   int    `json:"number"`
	Format   Format `json:"format"`
	Message  string `json:"message,omitempty"` // of Protobuf
	Document []byte `json:"document"`
	// Columns are those that the table has by it.
	Columns []Field   `json:"columns"`
	LeftOut []LeftOut `json:"left_out,omitempty"`
	Created int64     `json:"created"` // ms since 1970
}

// Topic is the schema versions of one topic, the oldest first.
type Topic struct {
	Name     string    `json:"topic"`
	NextID   int       `json:"next_id"` // ids below it were given away
	Versions []Version `json:"versions"`
	// Off says that the schema was removed: bodies get no columns any more. The
	// versions stay, so that another one goes on behind them.
	Off bool `json:"off,omitempty"`
	// Applying says that files of before the newest version are being given its
	// columns.
	Applying bool `json:"applying,omitempty"`
}

// Declaration is a schema that somebody wants for a topic.
type Declaration struct {
	Format   Format
	Document []byte
	Message  string            // of Protobuf
	Rename   map[string]string // columns' new names by their old ones, nested ones with dots
	Drop     []string          // columns that shall go
	Now      int64             // ms since 1970
}

// Table is what the topic's table says of typed columns. It counts where the
// topic has no version yet: its state may have been lost.
type Table struct {
	Columns []Field
	LastID  int
	Version int
}

// Newest is the version in force, nil for none.
func (t Topic) Newest() *Version {
	if t.Off || len(t.Versions) == 0 {
		return nil
	}
	return &t.Versions[len(t.Versions)-1]
}

// Declare gives the topic with another version, or says why a schema can't be
// the next one. changed is false where it is in force already. t is not
// changed.
func (t Topic) Declare(d Declaration, table Table) (next Topic, changed bool, err error) {
	decl, err := declare(d.Format, d.Document, d.Message)
	if err != nil {
		return t, false, err
	}
	last := t.last(table)
	if same := len(t.Versions) > 0 && last.Format == d.Format && last.Message == d.Message && bytes.Equal(last.Document, d.Document); same && len(d.Rename)+len(d.Drop) == 0 {
		next, changed = t, t.Off
		next.Off = false
		return next, changed, nil
	}
	if len(t.Versions) >= maxVersions {
		return t, false, fmt.Errorf("the topic has %d versions of its schema, which is the limit", maxVersions)
	}
	e := &evolution{next: max(t.NextID, FirstID, table.LastID+1), rename: d.Rename, drop: d.Drop, sameFormat: last.Format == d.Format}
	columns, err := e.fields(last.Columns, decl.fields, "")
	if err == nil {
		err = e.leftOver()
	}
	if err != nil {
		return t, false, err
	}
	if err := checkFields(columns, "", 1); err != nil {
		return t, false, err
	}
	next = t
	next.NextID, next.Off = e.next, false
	next.Versions = append(slices.Clip(t.Versions), Version{
		Number: last.Number + 1, Format: d.Format, Message: d.Message, Document: d.Document,
		Columns: columns, LeftOut: decl.leftOut, Created: d.Now,
	})
	_, err = next.Layout()
	return next, err == nil, err
}

// last is the version that the next one must follow.
func (t Topic) last(table Table) Version {
	if n := len(t.Versions); n > 0 {
		return t.Versions[n-1]
	}
	return Version{Number: table.Version, Columns: table.Columns}
}

// Layout gives the columns of the version in force; nil where there is none.
func (t Topic) Layout() (*Layout, error) {
	v := t.Newest()
	if v == nil {
		return nil, nil
	}
	l := newLayout(v.Columns)
	l.Topic, l.Version, l.format = t.Name, v.Number, v.Format
	fail := func(err error) (*Layout, error) {
		return nil, fmt.Errorf("schema version %d of topic %s: %w", v.Number, t.Name, err)
	}
	switch v.Format {
	case JSON:
	case Avro:
		for _, w := range slices.Backward(t.Versions) {
			if w.Format != Avro {
				continue
			}
			writer, err := parseAvro(w.Document)
			if err != nil {
				return fail(err)
			}
			l.avro = append(l.avro, writer)
		}
	case Protobuf:
		m, err := parseProtobuf(v.Document, v.Message)
		if err == nil {
			l.proto, err = planProtobuf(m, l.root)
		}
		if err != nil {
			return fail(err)
		}
	default:
		return fail(fmt.Errorf("no format is called %q", v.Format))
	}
	return l, nil
}

// evolution gives the fields of a new version the ids of those that they
// follow.
type evolution struct {
	next       int // id
	rename     map[string]string
	drop       []string
	sameFormat bool
	used       []string // of rename and drop
}

// fields matches new fields with old ones.
func (e *evolution) fields(old, fresh []Field, at string) ([]Field, error) {
	out := make([]Field, 0, len(fresh))
	taken := make([]bool, len(old))
	for _, f := range fresh {
		i := e.find(old, taken, f, at)
		if i < 0 {
			out = append(out, e.number(f))
			continue
		}
		taken[i] = true
		same, err := e.follow(old[i], f, join(at, old[i].Name))
		if err != nil {
			return nil, err
		}
		out = append(out, same)
	}
	for i, f := range old {
		path := join(at, f.Name)
		if taken[i] {
			continue
		}
		if !slices.Contains(e.drop, path) {
			return nil, fmt.Errorf("column %s has no field any more: drop it by name (--drop %s), or say what it is called now (--rename %s=NEW)", path, path, path)
		}
		e.used = append(e.used, path)
	}
	return out, nil
}

// find gives the old field that a new one follows: by what was said, by its
// place in the body, by its former names, by its name.
func (e *evolution) find(old []Field, taken []bool, f Field, at string) int {
	look := func(is func(o Field) bool) int {
		return slices.IndexFunc(old, func(o Field) bool {
			return is(o) && !slices.Contains(e.drop, join(at, o.Name))
		})
	}
	renamed := func(o Field) bool { _, ok := e.rename[join(at, o.Name)]; return ok }
	for _, is := range []func(o Field) bool{
		func(o Field) bool { to, ok := e.rename[join(at, o.Name)]; return ok && to == f.Name },
		func(o Field) bool { return e.sameFormat && o.Source != "" && o.Source == f.Source && !renamed(o) },
		func(o Field) bool { return slices.Contains(f.Former, o.Source) && o.Source != "" && !renamed(o) },
		func(o Field) bool { return (!e.sameFormat || o.Source == "") && o.Name == f.Name && !renamed(o) },
	} {
		if i := look(is); i >= 0 && !taken[i] {
			if renamed(old[i]) {
				e.used = append(e.used, join(at, old[i].Name))
			}
			return i
		}
	}
	return -1
}

// follow is a new field in the place of an old one.
func (e *evolution) follow(old, f Field, at string) (Field, error) {
	f.ID = old.ID
	for _, former := range append(slices.Clone(old.Former), old.Source) {
		if e.sameFormat && former != "" && former != f.Source && !slices.Contains(f.Former, former) {
			f.Former = append(slices.Clip(f.Former), former)
		}
	}
	if !old.Type.Widens(f.Type) {
		return f, fmt.Errorf("column %s is %s and can't become %s: a column may go from int to long, from float to double, or to a decimal of more digits", at, old.Type, f.Type)
	}
	var err error
	f.Type.Fields, err = e.inner(old, f, at)
	return f, err
}

func (e *evolution) inner(old, f Field, at string) ([]Field, error) {
	switch f.Type.Kind {
	case Struct:
		return e.fields(old.Type.Fields, f.Type.Fields, at)
	case List, Map:
		parts := make([]Field, len(f.Type.Fields))
		for i := range parts {
			was, is := old.Type.Fields[i], f.Type.Fields[i]
			if f.Type.Kind == Map && i == 0 && !was.Type.Equal(is.Type) {
				return nil, fmt.Errorf("column %s: the keys of a map can't change from %s to %s", at, was.Type, is.Type)
			}
			var err error
			if parts[i], err = e.follow(was, is, join(at, was.Name)); err != nil {
				return nil, err
			}
		}
		return parts, nil
	}
	return nil, nil
}

// number gives a new field and its parts ids.
func (e *evolution) number(f Field) Field {
	f.ID = e.next
	e.next++
	f.Type.Fields = slices.Clone(f.Type.Fields)
	for i := range f.Type.Fields {
		f.Type.Fields[i] = e.number(f.Type.Fields[i])
	}
	return f
}

// leftOver refuses what was said of columns that there are not.
func (e *evolution) leftOver() error {
	for path := range e.rename {
		if !slices.Contains(e.used, path) {
			return fmt.Errorf("column %s can't be renamed to %s: there is no such column, or no field would be called so", path, e.rename[path])
		}
	}
	for _, path := range e.drop {
		if !slices.Contains(e.used, path) {
			return fmt.Errorf("column %s can't be dropped: there is no such column", path)
		}
	}
	return nil
}

// ErrNoSchema says that a topic has no schema in force.
var ErrNoSchema = errors.New("the topic has no schema")

// Check reads one body as the layout would, and gives why it doesn't fit, ""
// where it does.
func (l *Layout) Check(body []byte) string { return l.NewDecoder().Append(body) }
