package http

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/zlib"

	"varve/broker"
	"varve/internal/mq"
)

func stored(m mq.Message) mq.Record {
	m.Topic = "orders"
	m.BornHost, m.StoreHost = netip.MustParseAddrPort("192.0.2.7:99"), netip.MustParseAddrPort("192.0.2.1:10911")
	return mq.Record(mq.AppendRecord(nil, &m))
}

// seen is a message as an SDK reads it.
type seen struct {
	MessageID  string `xml:"MessageId"`
	MD5        string `xml:"MessageBodyMD5"`
	Body       string `xml:"MessageBody"`
	Base64     string `xml:"MessageBodyBase64"`
	Tag        string `xml:"MessageTag"`
	Properties string `xml:"Properties"`
}

func written(t *testing.T, rec mq.Record) seen {
	t.Helper()
	x := newXML("Messages")
	x.popped(&broker.Popped{Record: rec})
	var got struct {
		Message seen `xml:"Message"`
	}
	text := x.end("Messages")
	if err := xml.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	return got.Message
}

func TestEveryStoredBodyCanBeCarried(t *testing.T) {
	for _, body := range []string{"a\x00b", "\xff\xfe", "text \uFFFF", "lone \xed\xa0\x80 surrogate"} {
		got := written(t, stored(mq.Message{Body: []byte(body)}))
		plain, err := base64.StdEncoding.DecodeString(got.Base64)
		if err != nil || string(plain) != body || got.MD5 != digest([]byte(body)) || !strings.Contains(got.Body, "\uFFFD") {
			t.Errorf("%q is %+v", body, got)
		}
	}
	for _, body := range []string{"text", "\t\r\n", "\uFFFD is a character too", "<>&\"'"} {
		if got := written(t, stored(mq.Message{Body: []byte(body)})); got.Body != body || got.Base64 != "" {
			t.Errorf("%q is %+v", body, got)
		}
	}
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = z.Write([]byte("a lamp"))
	_ = z.Close()
	if got := written(t, stored(mq.Message{Body: b.Bytes(), SysFlag: mq.SysCompressed})); got.Body != "a lamp" {
		t.Errorf("a compressed body is %+v", got)
	}
	if got := written(t, stored(mq.Message{Body: []byte("not zlib"), SysFlag: mq.SysCompressed})); got.Body != "not zlib" {
		t.Errorf("one that can't be inflated is %+v", got)
	}
}

func TestOnlyTheUsersPropertiesAreShown(t *testing.T) {
	var props []byte
	for _, p := range [][2]string{
		{"a", "1"},
		{mq.PropTags, "paid"},
		{mq.PropMsgRegion, "DefaultRegion"},
		{mq.PropKeys, "k"},
		{"bar", "x|y"},
		{"co:lon", "1"},
		{"time", "10:30"},
		{mq.PropShardingKey, "s"},
		{mq.PropTimerDeliverMs, "99"},
		{mq.PropCheckImmunity, "60"},
		{"raw", "\xff<"},
	} {
		props = mq.AppendProperty(props, p[0], p[1])
	}
	got := written(t, stored(mq.Message{Body: []byte("x"), Properties: props, PhysicalOffset: 7}))
	if want := "a:1|KEYS:k|time:10:30|__SHARDINGKEY:s|__STARTDELIVERTIME:99|__TransCheckT:60|raw:\uFFFD<|"; got.Properties != want || got.Tag != "paid" {
		t.Errorf("tag %q, properties %q, want %q", got.Tag, got.Properties, want)
	}
	if want := mq.OffsetMsgID(netip.MustParseAddrPort("192.0.2.1:10911"), 7); got.MessageID != want {
		t.Errorf("without an id of its own it is %q, want %q", got.MessageID, want)
	}
}

func FuzzStoredMessagesAreAlwaysXML(f *testing.F) {
	f.Add([]byte("body"), []byte("a\x01b\x02TAGS\x01x\x02"))
	f.Add([]byte("\x00\xff"), []byte("\x01\x02UNIQ_KEY\x01\xff\x02a:b\x01c|d\x02"))
	f.Fuzz(func(t *testing.T, body, props []byte) {
		if len(props) > mq.MaxPropertiesLen || len(body) > 1<<20 {
			return
		}
		got := written(t, stored(mq.Message{Body: body, Properties: props}))
		switch plain, err := base64.StdEncoding.DecodeString(got.Base64); {
		case err != nil:
			t.Fatal(err)
		case got.Base64 == "" && got.Body != string(body), got.Base64 != "" && !bytes.Equal(plain, body):
			t.Fatalf("%q is %+v", body, got)
		}
	})
}

func FuzzPublishedMessages(f *testing.F) {
	f.Add([]byte(`<?xml version="1.0"?><Message xmlns="http://mq.aliyuncs.com/doc/v1/"><MessageBody><![CDATA[x]]></MessageBody><MessageTag>t</MessageTag><Properties>KEYS:k|__STARTDELIVERTIME:9|</Properties></Message>`))
	f.Add([]byte(`<Message><MessageBody>&lt;&#xA;</MessageBody><Properties>__TransCheckT:10|a:b:c</Properties></Message>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var p posted
		c := &call{w: httptest.NewRecorder(), r: httptest.NewRequest("POST", "/topics/orders/messages", bytes.NewReader(body))}
		if decodeXML(c, 1<<20, &p) != nil {
			return
		}
		if !isXML([]byte(p.Body)) || !utf8.ValidString(p.Properties) {
			t.Fatalf("what isn't text was read: %q", body)
		}
		s := &sending{}
		s.req.Message.Topic = "orders"
		if s.properties(&p) != nil {
			return
		}
		for name, value := range mq.Properties(s.req.Message.Properties) {
			if mq.CheckProperty(name, value) != nil {
				t.Fatalf("property %q: %q", name, value)
			}
			if n := strings.Count(string(s.req.Message.Properties), "\x02"+name+"\x01"); n > 1 {
				t.Fatalf("property %q is there %d times", name, n+1)
			}
		}
	})
}

func FuzzHalfHandles(f *testing.F) {
	f.Add("half 1 2 sent orders")
	f.Add("half 1 2 asked INST%orders")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHalfHandle(text)
		if err != nil {
			return
		}
		if again, err := parseHalfHandle(h.String()); err != nil || again != h {
			t.Fatalf("%q is %+v, then %+v, %v", text, h, again, err)
		}
	})
}
