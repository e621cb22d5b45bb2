package remoting

import (
	"bytes"
	"strings"
	"testing"
)

func encodeDecode(t *testing.T, in *Command) *Command {
	t.Helper()
	frame := AppendFrame(nil, in)
	var out Command
	if err := DecodeFrame(frame[4:], &out); err != nil {
		t.Fatalf("decode %q: %v", frame, err)
	}
	return &out
}

func sameCommand(a, b *Command) bool {
	if a.Code != b.Code || a.Language != b.Language || a.Version != b.Version || a.Opaque != b.Opaque ||
		a.Flag != b.Flag || a.Remark != b.Remark || !bytes.Equal(a.Body, b.Body) || a.Ext.Len() != b.Ext.Len() {
		return false
	}
	for name, v := range a.Ext.All() {
		if w, ok := b.Ext.Lookup(name); !ok || w != v {
			return false
		}
	}
	return true
}

func TestRoundTrip(t *testing.T) {
	props := "KEYS\x01k1 k2\x02TAGS\x01a\x02WAIT\x01true\x02"
	cmd := &Command{Code: 310, Language: Java, Version: 479, Opaque: -7, Flag: flagOneWay, Remark: "why \"so\"\n", Body: []byte("body")}
	cmd.Ext.Set("i", props)
	cmd.Ext.Set("b", "Тема \\ \u2028 😀")
	cmd.Ext.SetInt("e", -9223372036854775808)
	cmd.Ext.SetBool("m", true)
	cmd.Ext.Set("b", "replaced 😀")
	for _, s := range []Serializer{JSON, Binary} {
		cmd.Serializer = s
		if got := encodeDecode(t, cmd); !sameCommand(cmd, got) || got.Serializer != s {
			t.Errorf("serializer %d: got %+v", s, got)
		}
	}
}

// TestForeignJSON reads headers as other clients write them.
func TestForeignJSON(t *testing.T) {
	cases := []struct {
		name, header string
		check        func(*Command) bool
	}{
		{"spaces and order", " { \"flag\" : 2 ,\n\"opaque\":  5, \"code\":310 } ", func(c *Command) bool { return c.Code == 310 && c.IsOneWay() && c.Opaque == 5 }},
		{"null members", `{"code":1,"remark":null,"extFields":null,"language":null}`, func(c *Command) bool { return c.Remark == "" && c.Ext.Len() == 0 }},
		{"numbers in ext fields", `{"extFields":{"a":5,"b":true,"c":null,"d":-1.5}}`, func(c *Command) bool {
			_, has := c.Ext.Lookup("c")
			return c.Ext.Get("a") == "5" && c.Ext.Get("b") == "true" && c.Ext.Get("d") == "-1.5" && !has
		}},
		{"unknown members", `{"x":{"y":[1,{"z":"\"}"}],"e":[]},"code":2,"w":[[]],"v":{}}`, func(c *Command) bool { return c.Code == 2 }},
		{"escapes", `{"extFields":{"k":"\u0001\u0002\t\/\\\u00e9\ud83d\ude00\ud83dx"}}`, func(c *Command) bool {
			return c.Ext.Get("k") == "\x01\x02\t/\\é😀\uFFFDx"
		}},
		{"escaped name", `{"ext\u0046ields":{"\u0061":"1","b":"2"}}`, func(c *Command) bool { return c.Ext.Get("a") == "1" && c.Ext.Get("b") == "2" }},
		{"unknown language", `{"language":"COBOL"}`, func(c *Command) bool { return c.Language == Other }},
	}
	for _, tc := range cases {
		var cmd Command
		if err := DecodeFrame(jsonFrame(tc.header, 0)[4:], &cmd); err != nil || !tc.check(&cmd) {
			t.Errorf("%s: %v, %+v", tc.name, err, cmd)
		}
	}
}

func TestBadJSON(t *testing.T) {
	for _, h := range []string{
		``, `{`, `{}x`, `[]`, `{"code"}`, `{"code":}`, `{"code":1,}`, `{"code":99999999999}`, `{"extFields":[]}`,
		`{"extFields":{"a":"b}}`, `{"extFields":{"a":"\q"}}`, `{"extFields":{"a":"\u12"}}`, `{"extFields":{"a":{}}}`,
		`{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		`{"extFields":{` + strings.TrimSuffix(manyFields(MaxFields+1), ",") + `}}`,
	} {
		var cmd Command
		if err := DecodeFrame(jsonFrame(h, 0)[4:], &cmd); err == nil {
			t.Errorf("%.60s: decoded", h)
		}
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"f` + strings.Repeat("x", i) + `":"1",`)
	}
	return b.String()
}

func TestParserNamesTheField(t *testing.T) {
	var c Command
	c.Ext.Set("n", "12x")
	c.Ext.Set("empty", "")
	for want, read := range map[string]func(*Parser){
		`<topic> is null`: func(p *Parser) { p.Str("topic") },
		`<empty> is null`: func(p *Parser) { p.Int("empty") },
		`<n> is "12x"`:    func(p *Parser) { p.OptInt32("n", 0) },
	} {
		p := c.Ext.Parse()
		read(p)
		if err := p.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	p := c.Ext.Parse()
	if v := p.OptInt("absent", 7); v != 7 || p.Err() != nil {
		t.Errorf("absent: %d, %v", v, p.Err())
	}
}

func TestCloneOutlivesFrame(t *testing.T) {
	frame := AppendFrame(nil, NewRequest(1, "topic", "orders"))
	var cmd Command
	if err := DecodeFrame(frame[4:], &cmd); err != nil {
		t.Fatal(err)
	}
	own := cmd.Clone()
	clear(frame)
	if own.Ext.Get("topic") != "orders" {
		t.Error("the clone changed with the frame")
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, s := range []Serializer{JSON, Binary} {
		cmd := NewRequest(310, "b", "topic", "i", "TAGS\x01a\x02")
		cmd.Serializer, cmd.Body = s, []byte("body")
		f.Add(AppendFrame(nil, cmd)[4:])
	}
	f.Add(jsonFrame(`{"code":1,"extFields":{"k":"\u0001\ud83d\ude00"},"x":[{}]}`, 3)[4:])
	f.Fuzz(func(t *testing.T, frame []byte) {
		var cmd Command
		if DecodeFrame(bytes.Clone(frame), &cmd) != nil {
			return
		}
		// What was decoded can be encoded, and decodes to the same.
		again := AppendFrame(nil, &cmd)
		var second Command
		if err := DecodeFrame(again[4:], &second); err != nil {
			t.Fatalf("re-encoded frame: %v", err)
		}
		if cmd.Serializer == Binary && !sameCommand(&cmd, &second) {
			t.Errorf("first %+v, again %+v", cmd, second)
		}
	})
}

func sendFrame(s Serializer) []byte {
	cmd := NewRequest(SendMessageV2, "a", "producer-group", "b", "orders", "c", "TBW102", "d", "8", "e", "3", "f", "0",
		"g", "1700000000000", "h", "0", "i", "UNIQ_KEY\x01AC1100010A2318B4AAC24D8C5F350000\x02TAGS\x01tag-a\x02KEYS\x01k1\x02WAIT\x01true\x02",
		"j", "0", "k", "false", "m", "false", "n", "broker-a")
	cmd.Serializer, cmd.Body = s, make([]byte, 1024)
	return AppendFrame(nil, cmd)[4:]
}

func BenchmarkDecodeSend(b *testing.B) {
	for _, s := range []Serializer{JSON, Binary} {
		b.Run([]string{"json", "binary"}[s], func(b *testing.B) {
			frame := sendFrame(s)
			buf := make([]byte, len(frame))
			var cmd Command
			b.ReportAllocs()
			for b.Loop() {
				copy(buf, frame)
				if err := DecodeFrame(buf, &cmd); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodeReply(b *testing.B) {
	for _, s := range []Serializer{JSON, Binary} {
		b.Run([]string{"json", "binary"}[s], func(b *testing.B) {
			var cmd Command
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				cmd.Ext.Reset()
				cmd.Serializer = s
				cmd.Ext.Set("msgId", "0A0000010000 2A9F00000000000000AB")
				cmd.Ext.Set("transactionId", "AC1100010A2318B4AAC24D8C5F350000")
				cmd.Ext.SetInt("queueId", 3)
				cmd.Ext.SetInt("queueOffset", 123456)
				cmd.Ext.Set("MSG_REGION", "DefaultRegion")
				cmd.Ext.Set("TRACE_ON", "true")
				buf = AppendFrame(buf[:0], &cmd)
			}
		})
	}
}
