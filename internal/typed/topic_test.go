package typed

import (
	"strings"
	"testing"
)

// TestEvolution: what the next version of a schema may change, and what it may
// not.
func TestEvolution(t *testing.T) {
	base := `{"properties":{"i":{"type":"integer","format":"int32"},"l":{"type":"integer"},"f":{"type":"number","format":"float"},"d":{"type":"number","x-iceberg-type":"decimal(9,2)"},
	 "s":{"type":"string"},"o":{"type":"object","properties":{"a":{"type":"string"},"n":{"type":"integer","format":"int32"}}},
	 "list":{"type":"array","items":{"type":"integer","format":"int32"}},"m":{"type":"object","additionalProperties":{"type":"integer","format":"int32"}}}}`
	first := must(t, JSON, base)
	for what, c := range map[string]struct {
		from, to string // replaced in the schema
		rename   map[string]string
		drop     []string
		err      string // or what stands in the columns
		columns  string
	}{
		"add":                   {`"s":{"type":"string"}`, `"s":{"type":"string"},"z":{"type":"boolean"}`, nil, nil, "", "1013 z boolean"},
		"add within":            {`"a":{"type":"string"}`, `"a":{"type":"string"},"b":{"type":"string"}`, nil, nil, "", "1005 o struct<a: string, b: string, n: int>"},
		"int to long":           {`"i":{"type":"integer","format":"int32"}`, `"i":{"type":"integer"}`, nil, nil, "", "1000 i long"},
		"int to long in a list": {`"items":{"type":"integer","format":"int32"}`, `"items":{"type":"integer"}`, nil, nil, "", "1008 list list<long>"},
		"int to long in a map":  {`"additionalProperties":{"type":"integer","format":"int32"}`, `"additionalProperties":{"type":"integer"}`, nil, nil, "", "1010 m map<string, long>"},
		"float to double":       {`,"format":"float"`, ``, nil, nil, "", "1002 f double"},
		"more digits":           {`decimal(9,2)`, `decimal(20,2)`, nil, nil, "", "1003 d decimal(20,2)"},
		"rename":                {`"s":`, `"t":`, map[string]string{"s": "t"}, nil, "", "1004 t string"},
		"rename within":         {`"a":`, `"b":`, map[string]string{"o.a": "b"}, nil, "", "1005 o struct<b: string, n: int>"},
		"drop":                  {`"s":{"type":"string"},`, ``, nil, []string{"s"}, "", "1003 d decimal(9,2)\n1005 o"},
		"drop within":           {`"a":{"type":"string"},`, ``, nil, []string{"o.a"}, "", "1005 o struct<n: int>"},
		"drop and add":          {`"s":{"type":"string"}`, `"s":{"type":"boolean"}`, nil, []string{"s"}, "", "1013 s boolean"},

		"long to int":       {`"l":{"type":"integer"}`, `"l":{"type":"integer","format":"int32"}`, nil, nil, "column l is long and can't become int", ""},
		"string to integer": {`"s":{"type":"string"}`, `"s":{"type":"integer"}`, nil, nil, "column s is string and can't become long", ""},
		"int to double":     {`"i":{"type":"integer","format":"int32"}`, `"i":{"type":"number"}`, nil, nil, "column i is int and can't become double", ""},
		"fewer digits":      {`decimal(9,2)`, `decimal(8,2)`, nil, nil, "column d is decimal(9,2) and can't become decimal(8,2)", ""},
		"another scale":     {`decimal(9,2)`, `decimal(12,3)`, nil, nil, "column d is decimal(9,2) and can't become decimal(12,3)", ""},
		"text to struct":    {`"s":{"type":"string"}`, `"s":{"type":"object","properties":{"x":{"type":"string"}}}`, nil, nil, "column s is string and can't become struct<x: string>", ""},
		"type within":       {`"n":{"type":"integer","format":"int32"}`, `"n":{"type":"string"}`, nil, nil, "column o.n is int and can't become string", ""},
		"type in a list":    {`"items":{"type":"integer","format":"int32"}`, `"items":{"type":"string"}`, nil, nil, "column list.element is int and can't become string", ""},
		"lost":              {`"s":{"type":"string"},`, ``, nil, nil, "column s has no field any more: drop it by name (--drop s)", ""},
		"lost within":       {`"a":{"type":"string"},`, ``, nil, nil, "column o.a has no field any more", ""},
		"rename of nothing": {`"s":`, `"s":`, map[string]string{"nix": "t"}, nil, "column nix can't be renamed to t", ""},
		"rename to nothing": {`"s":`, `"s":`, map[string]string{"s": "t"}, nil, "column s has no field any more", ""},
		"drop of nothing":   {`"s":`, `"s":`, nil, []string{"nix"}, "column nix can't be dropped", ""},
		"drop what is kept": {`"s":`, `"s":`, nil, []string{"o.nix"}, "column o.nix can't be dropped", ""},
		"a name twice":      {`"s":{"type":"string"}`, `"s":{"type":"string"},"S":{"type":"string"}`, nil, nil, `fields "s" and "S" of the body would both be column S`, ""},
	} {
		doc := strings.Replace(base, c.from, c.to, 1)
		next, changed, err := first.Declare(Declaration{Format: JSON, Document: []byte(doc), Rename: c.rename, Drop: c.drop}, Table{})
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %s", what, err, c.err)
			}
			if len(next.Versions) != 1 {
				t.Errorf("%s: refused, and changed something", what)
			}
		case err != nil || !changed || next.Newest().Number != 2:
			t.Errorf("%s: %v %v", what, changed, err)
		case !strings.Contains(describe(next.Newest().Columns), c.columns):
			t.Errorf("%s: %s", what, describe(next.Newest().Columns))
		}
	}
}

// TestIDsAreNeverReused: a column that went and one that comes have nothing in
// common, even by the same name, and even where the state was lost.
func TestIDsAreNeverReused(t *testing.T) {
	step := func(topic Topic, table Table, doc string, drop ...string) Topic {
		t.Helper()
		next, _, err := topic.Declare(Declaration{Format: JSON, Document: []byte(doc), Drop: drop}, table)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	both, one := `{"properties":{"a":{"type":"string"},"b":{"type":"string"}}}`, `{"properties":{"a":{"type":"string"}}}`
	topic := step(step(step(Topic{}, Table{}, both), Table{}, one, "b"), Table{}, both)
	if got := describe(topic.Newest().Columns); got != "1000 a string\n1002 b string\n" {
		t.Error(got)
	}
	table := Table{Columns: topic.Newest().Columns, LastID: 1002, Version: 3}
	for i := range table.Columns {
		table.Columns[i].Source = ""
	}
	after := step(Topic{}, table, `{"properties":{"b":{"type":"string"},"a":{"type":"string"},"c":{"type":"string"}}}`)
	if got := describe(after.Newest().Columns); got != "1002 b string\n1000 a string\n1003 c string\n" || after.Newest().Number != 4 {
		t.Error(got, after.Newest().Number)
	}
}

// TestFormerNames: bodies of before a rename fill the same column.
func TestFormerNames(t *testing.T) {
	first := must(t, JSON, `{"required":["a"],"properties":{"a":{"type":"integer"}}}`)
	next, _, err := first.Declare(Declaration{
		Format: JSON, Document: []byte(`{"required":["b"],"properties":{"b":{"type":"integer"}}}`), Rename: map[string]string{"a": "b"},
	}, Table{})
	if err != nil {
		t.Fatal(err)
	}
	d := layout(t, next).NewDecoder()
	for _, body := range []string{`{"a":1}`, `{"b":2}`} {
		if reason := d.Append([]byte(body)); reason != "" {
			t.Error(reason)
		}
	}
	if got := dump(d); got != "b: 1/0 2/0\n" {
		t.Error(got)
	}
}

func TestSchemasThatHaveNoColumns(t *testing.T) {
	for doc, want := range map[string]string{
		`{`:                                   "not JSON",
		`[]`:                                  "a schema is an object",
		`{"type":"string"}`:                   "the body must be an object with properties",
		`{"type":"object"}`:                   "the body must be an object with properties",
		`{"properties":{"a":{"type":1}}}`:     "field a: type is 1",
		`{"properties":{"a":{"type":"int"}}}`: `field a: no type is called "int" in JSON Schema`,
		`{"properties":{"a":{"$ref":"http://x"}}}`:                                  "is not within the document",
		`{"properties":{"a":{"$ref":"#/$defs/x"}}}`:                                 "leads nowhere",
		`{"properties":{"a":{"x-iceberg-type":"decimal(50,2)"}}}`:                   "1 to 38 digits",
		`{"properties":{"a":{"x-iceberg-type":"money"}}}`:                           `no column type is called "money"`,
		`{"properties":{"body_tag":{"type":"string"},"tag":{"type":"string"}}}`:     `fields "body_tag" and "tag" of the body would both be column body_tag`,
		strings.Repeat(`{"properties":{"a":`, 60) + `{}` + strings.Repeat(`}}`, 60): "nested deeper than",
		`{"properties":{` + strings.Repeat(`"a":{},`, 1) + many(501) + `}}`:         "502 columns are more than the limit of 500",
	} {
		_, _, err := Topic{}.Declare(Declaration{Format: JSON, Document: []byte(doc)}, Table{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", doc, err, want)
		}
	}
	if _, _, err := (Topic{}).Declare(Declaration{Format: "xml", Document: []byte(`{}`)}, Table{}); err == nil {
		t.Error("a format that there isn't")
	}
	if _, _, err := (Topic{}).Declare(Declaration{Format: JSON, Document: make([]byte, maxDocument+1)}, Table{}); err == nil {
		t.Error("a document that is too long")
	}
}

// many gives n properties.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"c` + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26)) + `":{}`)
	}
	return b.String()
}
