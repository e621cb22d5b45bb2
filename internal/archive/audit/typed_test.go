package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"varve/internal/archive"
	"varve/internal/objstore"
	"varve/internal/typed"
)

// layoutsOf gives the layouts of a schema's versions.
func layoutsOf(t *testing.T, rename map[string]string, docs ...string) (out []*typed.Layout) {
	t.Helper()
	at := typed.Topic{Name: topic}
	for i, doc := range docs {
		d := typed.Declaration{Format: typed.JSON, Document: []byte(doc)}
		if i > 0 {
			d.Rename = rename
		}
		next, _, err := at.Declare(d, typed.Table{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := next.Layout()
		if err != nil {
			t.Fatal(err)
		}
		at, out = next, append(out, l)
	}
	return out
}

func known(l *typed.Layout) func(context.Context, string, string, int) (*typed.Layout, error) {
	return func(_ context.Context, broker, of string, version int) (*typed.Layout, error) {
		if broker != queue(0).Broker || of != topic || version != l.Version {
			return nil, fmt.Errorf("version %d of %s of %s is not known", version, of, broker)
		}
		return l, nil
	}
}

// typedEnv is an archive of 500 messages whose columns a layout made.
func typedEnv(t *testing.T, l *typed.Layout, body func(i int) string) *env {
	t.Helper()
	e := newEnv(t, testKey)
	if err := e.tbl.Evolve(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	msgs := messages(queue(0), 0, 500)
	for i := range msgs {
		msgs[i].Body, msgs[i].SysFlag = []byte(body(i)), 0
	}
	data, f := encodeWith(t, queue(0), msgs, archive.FileOptions{Epoch: 1, RowGroupRows: 150, Typed: l})
	f.Name = archive.FileName(queue(0), e.tbl.Root(), 0, 500, 1)
	e.put(f.Name, data, objstore.IfAbsent)
	e.commit(nil, f)
	return e
}

// TestTypedAgainstBodies: columns that the schema doesn't give of the bodies are a
// doubt that names the rows, whatever their checksums say; the reason's column too.
func TestTypedAgainstBodies(t *testing.T) {
	// Two schemas of the same columns, which read other fields, and one that wants a
	// field.
	renamed := layoutsOf(t, map[string]string{"old": "n"}, `{"properties":{"old":{"type":"integer"},"l":{"type":"array","items":{"type":"string"}}}}`,
		`{"properties":{"n":{"type":"integer"},"l":{"type":"array","items":{"type":"string"}}}}`)[1]
	plain := layoutsOf(t, nil, `{"properties":{"n":{"type":"integer"},"l":{"type":"array","items":{"type":"string"}}}}`)[0]
	strict := layoutsOf(t, nil, `{"required":["n"],"properties":{"n":{"type":"integer"},"l":{"type":"array","items":{"type":"string"}}}}`)[0]
	renamed.Version = 1
	body := func(i int) string {
		switch {
		case i == 160:
			return `{"old":5}`
		case i == 490:
			return "no JSON"
		case i%3 == 0:
			return fmt.Sprintf(`{"n":%d,"l":["a","b%d",null]}`, i, i)
		}
		return fmt.Sprintf(`{"n":%d,"l":[]}`, i)
	}
	for what, c := range map[string]struct {
		wrote, said *typed.Layout
		bad         string
	}{
		"as declared":              {renamed, renamed, ""},
		"another field":            {renamed, plain, "160"},
		"a value that nobody sent": {plain, renamed, "160"},
		"a reason that is none":    {strict, plain, "160"},
		"no reason where one is":   {plain, strict, "160"},
	} {
		e := typedEnv(t, c.wrote, body)
		rep := e.audit(Options{Layouts: known(c.said)})
		var bad []string
		for _, d := range rep.Doubts {
			for _, r := range d.Rows {
				bad = append(bad, fmt.Sprint(r.Offset))
			}
		}
		if got := strings.Join(bad, " "); got != c.bad || rep.OK != (c.bad == "") || rep.Proven != 500 || len(rep.NotCovered) != 0 {
			t.Errorf("%s: rows %q, want %q: %+v, not covered %+v", what, got, c.bad, rep.Doubts, rep.NotCovered)
		}
	}
}

// TestTypedRowsOfLists: rows of a column with several values a row are told
// apart, more and fewer of them.
func TestTypedRowsOfLists(t *testing.T) {
	doc := func(name string) string {
		return `{"properties":{"` + name + `":{"type":"array","items":{"type":"integer"}}}}`
	}
	renamed := layoutsOf(t, map[string]string{"old": "l"}, doc("old"), doc("l"))[1]
	plain := layoutsOf(t, nil, doc("l"))[0]
	renamed.Version = 1
	e := typedEnv(t, renamed, func(i int) string {
		if i == 7 || i == 149 || i == 400 {
			return `{"old":[1,2,3]}`
		}
		return fmt.Sprintf(`{"l":[%d,%d]}`, i, i)
	})
	rep := e.audit(Options{Layouts: known(plain)})
	if len(rep.Doubts) != 1 || len(rep.Doubts[0].Rows) != 3 || rep.Doubts[0].Rows[1].Offset != 149 || rep.Doubts[0].Rows[1].MsgID == "" {
		t.Errorf("%+v", rep.Doubts)
	}
}

// TestTypedWithoutSchema: where the schema isn't known, or nobody asked, the report
// says what was not compared; a file of other columns than its version's is a doubt.
func TestTypedWithoutSchema(t *testing.T) {
	l := layoutsOf(t, nil, `{"properties":{"n":{"type":"integer"}}}`)[0]
	other := layoutsOf(t, nil, `{"properties":{"n":{"type":"string"}}}`)[0]
	e := typedEnv(t, l, func(int) string { return `{"n":1}` })
	none := func(context.Context, string, string, int) (*typed.Layout, error) {
		return nil, errors.New("no such schema")
	}
	for what, o := range map[string]Options{"no such schema": {Layouts: none}, "not asked": {Layouts: known(other), NotTyped: true}, "not known": {}} {
		rep := e.audit(o)
		if !rep.OK || len(rep.NotCovered) != 1 || !strings.Contains(rep.NotCovered[0].Why, "version 1 of the schema") {
			t.Errorf("%s: %+v, %+v", what, rep.Doubts, rep.NotCovered)
		}
	}
	if rep := e.audit(Options{Layouts: known(other)}); rep.OK || len(rep.Doubts) != 1 || !strings.Contains(rep.Doubts[0].Rows[0].Why, "typed columns") {
		t.Errorf("%+v", rep.Doubts)
	}
}
