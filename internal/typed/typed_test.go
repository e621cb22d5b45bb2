package typed

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const orders = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","required":["id"],"properties":{
 "id":{"type":"integer"},"amount":{"type":"number"},"paid":{"type":["boolean","null"]},"tag":{"type":"string","description":"a word"},
 "at":{"type":"string","format":"date-time"},"day":{"type":"string","format":"date"},"ref":{"type":"string","format":"uuid"},
 "price":{"type":"number","x-iceberg-type":"decimal(9,2)"},"big":{"type":"string","x-iceberg-type":"decimal(38,4)"},
 "customer":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"age":{"type":"integer","format":"int32"}}},
 "items":{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string"},"n":{"type":"integer"},"tags":{"type":"array","items":{"type":"string"}}}}},
 "labels":{"type":"object","additionalProperties":{"type":"integer"}},"free":{},"tree":{"$ref":"#/$defs/tree"}},
 "$defs":{"tree":{"type":"object","properties":{"left":{"$ref":"#/$defs/tree"},"v":{"type":"integer"}}}}}`

func must(t *testing.T, f Format, doc string) Topic {
	t.Helper()
	next, changed, err := Topic{Name: "t"}.Declare(Declaration{Format: f, Document: []byte(doc)}, Table{})
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	return next
}

func layout(t *testing.T, topic Topic) *Layout {
	t.Helper()
	l, err := topic.Layout()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func describe(fields []Field) string {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%d %s %s\n", f.ID, f.Name, f.Type)
	}
	return b.String()
}

func TestColumnsOfJSONSchema(t *testing.T) {
	got := describe(must(t, JSON, orders).Newest().Columns)
	want := `1000 id long
1001 amount double
1002 paid boolean
1003 body_tag string
1004 at timestamptz
1005 day date
1006 ref uuid
1007 price decimal(9,2)
1008 big decimal(38,4)
1009 customer struct<name: string, age: int>
1012 items list<struct<sku: string, n: long, tags: list<string>>>
1018 labels map<string, long>
1021 free string
1022 tree struct<left: string, v: long>
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// dump shows the rows leaf by leaf.
func dump(d *Decoder) string {
	var b strings.Builder
	for i, l := range d.layout.Leaves {
		fmt.Fprintf(&b, "%s:", strings.Join(l.Path, "."))
		for _, v := range d.Leaf(i) {
			switch {
			case int(v.Def) < l.MaxDef:
				fmt.Fprintf(&b, " -%d/%d", v.Rep, v.Def)
			case l.Type.Kind == String:
				fmt.Fprintf(&b, " %s/%d", v.Bytes, v.Rep)
			case v.Bytes != nil:
				fmt.Fprintf(&b, " %x/%d", v.Bytes, v.Rep)
			default:
				fmt.Fprintf(&b, " %d/%d", v.Num, v.Rep)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestJSONBodies(t *testing.T) {
	d := layout(t, must(t, JSON, orders)).NewDecoder()
	for _, c := range []struct{ body, reason string }{
		{`{"id":1,"amount":1.5,"paid":true,"tag":"a\u00e9\n","at":"2026-01-02T03:04:05.5+01:00","day":"1969-12-31","ref":"00112233-4455-6677-8899-aabbccddeeff","price":12.3,"big":"-1.0001",
		   "customer":{"age":7,"x":[1,{"y":null}],"name":"n"},"items":[{"sku":"s","tags":["a","b"]},{"n":2,"tags":[]},null,{"tags":[null]}],"labels":{"a":1,"b":null},"free":[1, 2],"tree":{"left":{"v":1}}}`, ""},
		{` { "id" : -2.0 } `, ""},
		{`{"id":3,"items":[],"labels":{},"paid":null}`, ""},
		{`{"id":"1"}`, "id: a string, want long"},
		{`{"amount":1}`, "id: it is required and missing"},
		{`{"id":null}`, "id: null, want long"},
		{`{"id":1.5}`, "id: 1.5 is not a whole number, want long"},
		{`{"id":1,"id":2}`, "id: it is there twice"},
		{`{"id":1,"customer":{}}`, "customer.name: it is required and missing"},
		{`{"id":1,"customer":{"name":"n","age":3000000000}}`, "customer.age: 3000000000 is out of the range of int"},
		{`{"id":1,"items":[{"sku":"s","tags":["a"]},{"sku":1}]}`, "items.sku: a number, want string"},
		{`{"id":1,"price":1.234}`, "price: more than the 2 digits behind the point that decimal(9,2) has"},
		{`{"id":1,"price":12345678.00}`, "price: more digits than decimal(9,2) has"},
		{`{"id":1,"at":"yesterday"}`, `at: "yesterday" is not a time such as 2026-01-31T10:00:00Z`},
		{`{"id":1`, "not JSON: byte 7: want a comma or the end of an object"},
		{`[1]`, "not an object"},
		{``, "not JSON: byte 0: want a value"},
		{"{\"id\":1,\"x\":\"\xff\"}", "not JSON: not UTF-8"},
		{`{"id":1}x`, "not JSON: byte 8: something follows the value"},
		{strings.Repeat(`{"x":`, 200) + `1`, "nested deeper than 100"},
		{`{"id":1,"items":[` + strings.Repeat(`null,`, 70000) + `null]}`, "items: more than 65536 values"},
	} {
		if got := d.Append([]byte(c.body)); got != c.reason {
			t.Errorf("%.60s: %q, want %q", c.body, got, c.reason)
		}
	}
	rest := " -0/0" + strings.Repeat(" -0/0", 17)
	want := strings.ReplaceAll(`id: 1/0 -2/0 3/0REST
amount: 4609434218613702656/0 -0/0 -0/0REST
paid: 1/0 -0/0 -0/0REST
body_tag: aé
/0 -0/0 -0/0REST
at: 1767319445500000/0 -0/0 -0/0REST
day: -1/0 -0/0 -0/0REST
ref: 00112233445566778899aabbccddeeff/0 -0/0 -0/0REST
price: 1230/0 -0/0 -0/0REST
big: ffffffffffffffffffffffffffffd8ef/0 -0/0 -0/0REST
customer.name: n/0 -0/0 -0/0REST
customer.age: 7/0 -0/0 -0/0REST
items.list.element.sku: s/0 -1/3 -1/2 -1/3 -0/0 -0/1REST
items.list.element.n: -0/3 2/1 -1/2 -1/3 -0/0 -0/1REST
items.list.element.tags.list.element: a/0 b/2 -1/4 -1/2 -1/5 -0/0 -0/1REST
labels.key_value.key: a/0 b/1 -0/0 -0/1REST
labels.key_value.value: 1/0 -1/2 -0/0 -0/1REST
free: [1, 2]/0 -0/0 -0/0REST
tree.left: {"v":1}/0 -0/0 -0/0REST
tree.v: -0/1 -0/0 -0/0REST
`, "REST", rest)
	if got := dump(d); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	d.Reset()
	if got := dump(d); strings.Contains(got, "/") {
		t.Errorf("after a reset: %s", got)
	}
}

func TestStoredTopicIsTheSame(t *testing.T) {
	topic := must(t, JSON, orders)
	raw, err := json.Marshal(topic)
	if err != nil {
		t.Fatal(err)
	}
	var back Topic
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if !SameColumns(layout(t, topic).Columns, layout(t, back).Columns) {
		t.Errorf("%s", raw)
	}
}

// FuzzJSON holds the reader to encoding/json's judgement of what JSON is.
func FuzzJSON(f *testing.F) {
	topic, _, err := Topic{}.Declare(Declaration{Format: JSON, Document: []byte(orders)}, Table{})
	if err != nil {
		f.Fatal(err)
	}
	l, err := topic.Layout()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{`{"id":1,"items":[{"tags":["a"]}]}`, `{"id":1e2,"labels":{"a":1}}`, `{"id":1,"tag":"\ud83d\ude00\ud800"}`, `[]`, ` "x"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d := l.NewDecoder()
		reason := d.Append(body)
		if (reason == "") && !json.Valid(body) {
			t.Errorf("%q fits and is not JSON", body)
		}
		if strings.HasPrefix(reason, "not JSON: byte") && json.Valid(body) {
			t.Errorf("%q: %s", body, reason)
		}
		checkRows(t, d, 1)
	})
}

// checkRows holds rows to Parquet's rules of levels.
func checkRows(t *testing.T, d *Decoder, rows int) {
	t.Helper()
	for i, l := range d.layout.Leaves {
		n := 0
		for _, v := range d.Leaf(i) {
			if v.Rep == 0 {
				n++
			}
			if int(v.Def) > l.MaxDef || int(v.Rep) > l.MaxRep {
				t.Fatalf("%v: levels %d and %d", l.Path, v.Rep, v.Def)
			}
		}
		if n != rows {
			t.Fatalf("%v: %d rows of %d", l.Path, n, rows)
		}
	}
}
