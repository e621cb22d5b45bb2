package typed

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/twmb/avro"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const avroOrders = `{"type":"record","name":"Order","namespace":"shop","fields":[
 {"name":"id","type":"long"},{"name":"paid","type":"boolean"},{"name":"amount","type":["null","double"]},{"name":"n","type":"int"},{"name":"f","type":"float"},
 {"name":"item","type":"string"},{"name":"raw","type":"bytes"},{"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","DONE"]}},
 {"name":"md5","type":{"type":"fixed","name":"MD5","size":2}},
 {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
 {"name":"day","type":{"type":"int","logicalType":"date"}},{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
 {"name":"clock","type":{"type":"int","logicalType":"time-millis"}},{"name":"ref","type":{"type":"string","logicalType":"uuid"}},
 {"name":"customer","type":["null",{"type":"record","name":"Customer","fields":[{"name":"name","type":"string"},{"name":"friend","type":["null","Customer"]}]}]},
 {"name":"tags","type":{"type":"array","items":"string"}},{"name":"labels","type":{"type":"map","values":"long"}},
 {"name":"either","type":["int","string"]},{"name":"again","type":"Customer"}]}`

func TestColumnsOfAvro(t *testing.T) {
	v := must(t, Avro, avroOrders).Newest()
	want := `1000 id long
1001 paid boolean
1002 amount double
1003 n int
1004 f float
1005 item string
1006 raw binary
1007 state string
1008 md5 binary
1009 price decimal(9,2)
1010 day date
1011 at timestamptz
1012 clock string
1013 ref uuid
1014 customer struct<name: string>
1016 tags list<string>
1018 labels map<string, long>
1021 again struct<name: string>
`
	if got := describe(v.Columns); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	var left []string
	for _, l := range v.LeftOut {
		left = append(left, l.Field+": "+l.Reason)
	}
	if got := strings.Join(left, "\n"); got != "customer.friend: its type holds itself, which no column can\neither: a union of several types, which no column can hold\nagain.friend: its type holds itself, which no column can" {
		t.Error(got)
	}
}

// avroOrder encodes an order as another library does.
func avroOrder(t testing.TB) (s *avro.Schema, body []byte) {
	t.Helper()
	s, err := avro.Parse(avroOrders)
	if err != nil {
		t.Fatal(err)
	}
	value := `{"id":-5,"paid":true,"amount":1.5,"n":7,"f":0.5,"item":"lämp","raw":"\u0001\u0002","state":"DONE","md5":"ab","price":"\u0004\u00d2","day":20455,
	  "at":1767319445500,"clock":3661001,"ref":"00112233-4455-6677-8899-aabbccddeeff","customer":{"name":"ann","friend":{"name":"bob","friend":null}},
	  "tags":["a","b"],"labels":{"x":1},"either":"word","again":{"name":"c","friend":null}}`
	var v any
	if err := s.DecodeJSON([]byte(value), &v); err != nil {
		t.Fatal(err)
	}
	if body, err = s.Encode(v); err != nil {
		t.Fatal(err)
	}
	return s, body
}

func TestAvroBodies(t *testing.T) {
	_, body := avroOrder(t)
	d := layout(t, must(t, Avro, avroOrders)).NewDecoder()
	if reason := d.Append(body); reason != "" {
		t.Fatal(reason)
	}
	header := append([]byte{0xC3, 0x01}, d.layout.avro[0].fingerprint[:]...)
	for what, c := range map[string]struct {
		body   []byte
		reason string
	}{
		"single object": {append(header, body...), ""},
		"cut":           {body[:20], "not Avro: item: it ends too early"},
		"longer":        {append(body[:len(body):len(body)], 1), "not Avro: 1 bytes follow the record"},
		"JSON":          {[]byte(`{"id":1}`), "not Avro: paid: a boolean of 34"},
		"empty":         {nil, "not Avro: id: it ends too early"},
	} {
		if got := layout(t, must(t, Avro, avroOrders)).Check(c.body); got != c.reason {
			t.Errorf("%s: %q, want %q", what, got, c.reason)
		}
	}
	want := `id: -5/0
paid: 1/0
amount: 4609434218613702656/0
n: 7/0
f: 1056964608/0
item: lämp/0
raw: 0102/0
state: DONE/0
md5: 6162/0
price: 1234/0
day: 20455/0
at: 1767319445500000/0
clock: 01:01:01.001000/0
ref: 00112233445566778899aabbccddeeff/0
customer.name: ann/0
tags.list.element: a/0 b/1
labels.key_value.key: x/0
labels.key_value.value: 1/0
again.name: c/0
`
	if got := dump(d); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestAvroVersions: a body is read by the version that it was written with, and
// fills the newest one's columns.
func TestAvroVersions(t *testing.T) {
	v1 := `{"type":"record","name":"R","fields":[{"name":"id","type":"int"},{"name":"old","type":"string"}]}`
	v2 := `{"type":"record","name":"R","fields":[{"name":"added","type":"string"},{"name":"fresh","type":"string","aliases":["old"]},{"name":"id","type":"long"}]}`
	topic := must(t, Avro, v1)
	topic, _, err := topic.Declare(Declaration{Format: Avro, Document: []byte(v2)}, Table{})
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(topic.Newest().Columns); got != "1002 added string\n1001 fresh string\n1000 id long\n" {
		t.Error(got)
	}
	d := layout(t, topic).NewDecoder()
	text := func(s string) []byte { return append(binary.AppendVarint(nil, int64(len(s))), s...) }
	first := append(binary.AppendVarint(nil, 300), text("o")...)
	second := append(append(text("a"), text("f")...), binary.AppendVarint(nil, 1<<40)...)
	for _, body := range [][]byte{first, second} {
		if reason := d.Append(body); reason != "" {
			t.Error(reason)
		}
	}
	if got := dump(d); got != "added: -0/0 a/0\nfresh: o/0 f/0\nid: 300/0 1099511627776/0\n" {
		t.Error(got)
	}
}

// protoOrders is what protoc makes of a file with these messages.
func protoOrders(t testing.TB, fields string) []byte {
	t.Helper()
	text := `{"file":[{"name":"shop.proto","package":"shop","syntax":"proto3","dependency":["google/protobuf/timestamp.proto","google/protobuf/wrappers.proto","google/protobuf/struct.proto","google/protobuf/any.proto"],
	 "enumType":[{"name":"State","value":[{"name":"NEW","number":0},{"name":"DONE","number":1}]}],
	 "messageType":[{"name":"Order","field":[` + fields + `],
	   "nestedType":[{"name":"LabelsEntry","options":{"mapEntry":true},"field":[{"name":"key","number":1,"type":"TYPE_STRING","label":"LABEL_OPTIONAL"},{"name":"value","number":2,"type":"TYPE_INT64","label":"LABEL_OPTIONAL"}]}]},
	  {"name":"Item","field":[{"name":"sku","number":1,"type":"TYPE_STRING","label":"LABEL_OPTIONAL"},{"name":"within","number":2,"type":"TYPE_MESSAGE","typeName":".shop.Item","label":"LABEL_OPTIONAL"},{"name":"ns","number":3,"type":"TYPE_INT32","label":"LABEL_REPEATED"}]}]}]}`
	var set descriptorpb.FileDescriptorSet
	if err := protojson.Unmarshal([]byte(text), &set); err != nil {
		t.Fatal(err)
	}
	out, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const orderFields = `{"name":"id","number":1,"type":"TYPE_INT32","label":"LABEL_OPTIONAL"},{"name":"tag","number":2,"type":"TYPE_STRING","label":"LABEL_OPTIONAL"},
 {"name":"big","number":3,"type":"TYPE_UINT64","label":"LABEL_OPTIONAL"},{"name":"state","number":4,"type":"TYPE_ENUM","typeName":".shop.State","label":"LABEL_OPTIONAL"},
 {"name":"at","number":5,"type":"TYPE_MESSAGE","typeName":".google.protobuf.Timestamp","label":"LABEL_OPTIONAL"},
 {"name":"note","number":6,"type":"TYPE_MESSAGE","typeName":".google.protobuf.StringValue","label":"LABEL_OPTIONAL"},
 {"name":"free","number":7,"type":"TYPE_MESSAGE","typeName":".google.protobuf.Struct","label":"LABEL_OPTIONAL"},
 {"name":"any","number":8,"type":"TYPE_MESSAGE","typeName":".google.protobuf.Any","label":"LABEL_OPTIONAL"},
 {"name":"items","number":9,"type":"TYPE_MESSAGE","typeName":".shop.Item","label":"LABEL_REPEATED"},
 {"name":"labels","number":10,"type":"TYPE_MESSAGE","typeName":".shop.Order.LabelsEntry","label":"LABEL_REPEATED"},
 {"name":"rate","number":11,"type":"TYPE_FLOAT","label":"LABEL_OPTIONAL"},{"name":"ok","number":12,"type":"TYPE_BOOL","label":"LABEL_OPTIONAL"},{"name":"raw","number":13,"type":"TYPE_BYTES","label":"LABEL_OPTIONAL"}`

func protoTopic(t testing.TB, topic Topic, fields string) Topic {
	t.Helper()
	topic, _, err := topic.Declare(Declaration{Format: Protobuf, Document: protoOrders(t, fields), Message: "shop.Order"}, Table{})
	if err != nil {
		t.Fatal(err)
	}
	return topic
}

func protoBody(t testing.TB, fields, text string) []byte {
	t.Helper()
	m, err := parseProtobuf(protoOrders(t, fields), "shop.Order")
	if err != nil {
		t.Fatal(err)
	}
	msg := dynamicpb.NewMessage(m)
	if err := protojson.Unmarshal([]byte(text), msg); err != nil {
		t.Fatal(err)
	}
	out, err := proto.Marshal(msg)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestProtobuf(t *testing.T) {
	topic := protoTopic(t, Topic{Name: "t"}, orderFields)
	if got, want := describe(topic.Newest().Columns), `1000 id int
1001 body_tag string
1002 big decimal(20,0)
1003 state string
1004 at timestamptz
1005 note string
1006 free string
1007 items list<struct<sku: string, ns: list<int>>>
1012 labels map<string, long>
1015 rate float
1016 ok boolean
1017 raw binary
`; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	d := layout(t, topic).NewDecoder()
	for _, text := range []string{
		`{"id":-1,"tag":"x","big":"18446744073709551615","state":"DONE","at":"2026-01-02T03:04:05.5Z","note":"n","free":{"a":1},"items":[{"sku":"s","ns":[1,2]},{}],"labels":{"k":"5"},"rate":0.5,"ok":true,"raw":"AQI="}`,
		`{}`,
	} {
		if reason := d.Append(protoBody(t, orderFields, text)); reason != "" {
			t.Error(reason)
		}
	}
	if got, want := dump(d), `id: -1/0 0/0
body_tag: x/0 /0
big: 00ffffffffffffffff/0 000000000000000000/0
state: DONE/0 NEW/0
at: 1767323045500000/0 -0/0
note: n/0 -0/0
free: {"a":1}/0 -0/0
items.list.element.sku: s/0 /1 -0/1
items.list.element.ns.list.element: 1/0 2/2 -1/4 -0/1
labels.key_value.key: k/0 -0/1
labels.key_value.value: 5/0 -0/1
rate: 1056964608/0 0/0
ok: 1/0 0/0
raw: 0102/0 0/0
`; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for _, c := range []struct{ body, reason string }{
		{"{\"id\":1}", "not a shop.Order: "}, {"\x0a\xff", "not a shop.Order: "}, {"\x12\x01\xff", "not a shop.Order: "},
	} {
		if got := d.Append([]byte(c.body)); !strings.HasPrefix(got, c.reason) {
			t.Errorf("%q: %q", c.body, got)
		}
	}
}

// TestProtobufRenamesByNumber: a field of the same number is the same column.
func TestProtobufRenamesByNumber(t *testing.T) {
	topic := protoTopic(t, Topic{Name: "t"}, orderFields)
	next := `{"name":"key_id","number":1,"type":"TYPE_INT64","label":"LABEL_OPTIONAL"},` + strings.SplitN(orderFields, ",\n", 2)[0][len(`{"name":"id","number":1,"type":"TYPE_INT32","label":"LABEL_OPTIONAL"},`):]
	_, _, err := topic.Declare(Declaration{Format: Protobuf, Document: protoOrders(t, next), Message: "shop.Order"}, Table{})
	if err == nil || !strings.Contains(err.Error(), "column big has no field any more") {
		t.Fatal(err)
	}
	after, _, err := topic.Declare(Declaration{
		Format: Protobuf, Document: protoOrders(t, next), Message: "shop.Order",
		Drop: []string{"big", "state", "at", "note", "free", "items", "labels", "rate", "ok", "raw"},
	}, Table{})
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(after.Newest().Columns); got != "1000 key_id long\n1001 body_tag string\n" {
		t.Error(got)
	}
}

func TestProtobufOfWhichMessage(t *testing.T) {
	for message, want := range map[string]string{
		"":           "which message the bodies are isn't said; there are shop.Item, shop.Order",
		"shop.Other": `there is no message "shop.Other"; there are shop.Item, shop.Order`,
		"shop.State": `there is no message "shop.State"; there are shop.Item, shop.Order`,
	} {
		_, _, err := Topic{}.Declare(Declaration{Format: Protobuf, Document: protoOrders(t, orderFields), Message: message}, Table{})
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v", message, err)
		}
	}
}

func FuzzAvro(f *testing.F) {
	_, body := avroOrder(f)
	f.Add(body)
	f.Add([]byte{0x80, 0x80, 0x80})
	topic, _, err := Topic{}.Declare(Declaration{Format: Avro, Document: []byte(avroOrders)}, Table{})
	if err != nil {
		f.Fatal(err)
	}
	l, err := topic.Layout()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d := l.NewDecoder()
		d.Append(body)
		d.Append(body)
		checkRows(t, d, 2)
	})
}

func FuzzProtobuf(f *testing.F) {
	f.Add(protoBody(f, orderFields, `{"id":1,"items":[{"sku":"s","within":{}}],"labels":{"k":"5"},"free":{"a":[1]}}`))
	topic := protoTopic(f, Topic{}, orderFields)
	l, err := topic.Layout()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d := l.NewDecoder()
		d.Append(body)
		checkRows(t, d, 1)
	})
}
