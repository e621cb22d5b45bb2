package grpc

import (
	"bytes"
	"net/netip"
	"testing"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"varve/internal/inflate"
	"varve/internal/mq"
)

func TestNamespacesStandBeforeNames(t *testing.T) {
	for _, tc := range []struct{ ns, name, want string }{
		{"", "orders", "orders"},
		{"shop", "orders", "shop%orders"},
		{"shop", "%DLQ%g", "%DLQ%shop%g"},
		{"", "%RETRY%g", "%RETRY%g"},
	} {
		if got := nameOf(&v2.Resource{ResourceNamespace: tc.ns, Name: tc.name}); got != tc.want {
			t.Errorf("%q of %q is %q, want %q", tc.name, tc.ns, got, tc.want)
		}
	}
}

func TestSuspendIsReadFromAFieldThatTheStubsDontHave(t *testing.T) {
	req := &v2.ChangeInvisibleDurationRequest{MessageId: "m"}
	if suspends(req) {
		t.Error("nothing says so")
	}
	raw, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	raw = protowire.AppendTag(raw, 6, protowire.BytesType)
	raw = protowire.AppendString(raw, "lite")
	raw = protowire.AppendTag(raw, fieldSuspend, protowire.VarintType)
	raw = protowire.AppendVarint(raw, 1)
	got := &v2.ChangeInvisibleDurationRequest{}
	if err := proto.Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	if !suspends(got) {
		t.Error("suspend was sent and not seen")
	}
}

func stored(m mq.Message) mq.Record {
	m.Topic = "orders"
	m.BornHost, m.StoreHost = netip.MustParseAddrPort("192.0.2.7:99"), netip.MustParseAddrPort("192.0.2.1:10911")
	return mq.Record(mq.AppendRecord(nil, &m))
}

func TestBodiesThatTheProtocolHasNoNameForAreInflated(t *testing.T) {
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := z.EncodeAll([]byte("a lamp"), nil)
	o := outgoingOf(stored(mq.Message{Body: packed, SysFlag: mq.SysCompressed | inflate.Zstd}), nil, "")
	if string(o.msg.Body) != "a lamp" || o.sys.BodyEncoding != v2.Encoding_IDENTITY {
		t.Errorf("zstd: body %q, %s", o.msg.Body, o.sys.BodyEncoding)
	}
	o = outgoingOf(stored(mq.Message{Body: []byte("\x78\x9c..."), SysFlag: mq.SysCompressed}), nil, "")
	if !bytes.HasPrefix(o.msg.Body, []byte{0x78}) || o.sys.BodyEncoding != v2.Encoding_GZIP {
		t.Errorf("zlib: body %q, %s", o.msg.Body, o.sys.BodyEncoding)
	}
}

func TestWhatRemotingStoredCanBeCarried(t *testing.T) {
	props := mq.AppendProperty(nil, "raw", "\xff\xfe")
	props = mq.AppendProperty(props, mq.PropTags, "paid")
	props = mq.AppendProperty(props, mq.PropMsgRegion, "DefaultRegion")
	o := outgoingOf(stored(mq.Message{Body: []byte("x"), Properties: props, PhysicalOffset: 7}), &v2.Resource{Name: "orders"}, "")
	if _, err := proto.Marshal(&o.msg); err != nil {
		t.Fatalf("bytes that are no text: %v", err)
	}
	if o.sys.GetTag() != "paid" || len(o.msg.GetUserProperties()) != 1 {
		t.Errorf("tag %q, properties %v", o.sys.GetTag(), o.msg.GetUserProperties())
	}
	if o.sys.GetBornHost() != "192.0.2.7:99" || o.sys.GetStoreHost() != "192.0.2.1:10911" {
		t.Errorf("born at %s, stored at %s", o.sys.GetBornHost(), o.sys.GetStoreHost())
	}
	if want := mq.OffsetMsgID(netip.MustParseAddrPort("192.0.2.1:10911"), 7); o.sys.GetMessageId() != want {
		t.Errorf("without an id of its own it is %q, want %q", o.sys.GetMessageId(), want)
	}
}

func FuzzStoredPropertiesAreAlwaysCarried(f *testing.F) {
	f.Add([]byte("a\x01b\x02TAGS\x01x\x02"))
	f.Add([]byte("TIMER_DELIVER_MS\x0199999999999999999999\x02\x01\x02"))
	f.Fuzz(func(t *testing.T, props []byte) {
		if len(props) > mq.MaxPropertiesLen {
			return
		}
		o := outgoingOf(stored(mq.Message{Body: []byte("x"), Properties: props}), &v2.Resource{Name: "orders"}, "h")
		if _, err := proto.Marshal(&o.msg); err != nil {
			t.Fatal(err)
		}
	})
}
