package mq

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func hostGen() *rapid.Generator[netip.AddrPort] {
	return rapid.Custom(func(t *rapid.T) netip.AddrPort {
		port := rapid.Uint16().Draw(t, "port")
		if rapid.Bool().Draw(t, "v6") {
			var a [16]byte
			a[0], a[15] = 0x20, rapid.Byte().Draw(t, "low")
			return netip.AddrPortFrom(netip.AddrFrom16(a), port)
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, rapid.Byte().Draw(t, "low")}), port)
	})
}

func messageGen() *rapid.Generator[Message] {
	return rapid.Custom(func(t *rapid.T) Message {
		return Message{
			Topic:                     rapid.StringMatching(`[%|a-zA-Z0-9_-]{1,127}`).Draw(t, "topic"),
			QueueID:                   rapid.Int32Min(0).Draw(t, "queue"),
			QueueOffset:               rapid.Int64().Draw(t, "offset"),
			PhysicalOffset:            rapid.Int64().Draw(t, "physical"),
			Flag:                      rapid.Int32().Draw(t, "flag"),
			SysFlag:                   rapid.Int32().Draw(t, "sysflag"),
			BornTimeMillis:            rapid.Int64().Draw(t, "born"),
			BornHost:                  hostGen().Draw(t, "bornhost"),
			StoreTimeMillis:           rapid.Int64().Draw(t, "store"),
			StoreHost:                 hostGen().Draw(t, "storehost"),
			ReconsumeTimes:            rapid.Int32().Draw(t, "reconsume"),
			PreparedTransactionOffset: rapid.Int64().Draw(t, "prepared"),
			Body:                      rapid.SliceOf(rapid.Byte()).Draw(t, "body"),
			Properties:                rapid.SliceOf(rapid.Byte()).Draw(t, "properties"),
		}
	})
}

func TestARecordGivesBackEveryFieldOfItsMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := messageGen().Draw(t, "message")
		rec := Record(AppendRecord(nil, &m))
		if len(rec) != RecordLen(&m) {
			t.Fatalf("RecordLen says %d, record has %d bytes", RecordLen(&m), len(rec))
		}
		if err := rec.Check(true); err != nil {
			t.Fatal(err)
		}
		got, err := rec.Decode()
		if err != nil {
			t.Fatal(err)
		}
		m.SysFlag = m.SysFlag &^ (SysBornHostV6 | SysStoreHostV6)
		if v6(m.BornHost) {
			m.SysFlag |= SysBornHostV6
		}
		if v6(m.StoreHost) {
			m.SysFlag |= SysStoreHostV6
		}
		if len(m.Body) == 0 {
			m.Body, got.Body = nil, nil
		}
		if len(m.Properties) == 0 {
			m.Properties, got.Properties = nil, nil
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("decoded\n%+v, want\n%+v", got, m)
		}
		if again := AppendRecord(nil, &got); !bytes.Equal(again, rec) {
			t.Fatal("encoding the decoded message gives other bytes")
		}
	})
}

func TestSetPlaceChangesThePlaceAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := messageGen().Draw(t, "message")
		rec := Record(AppendRecord(nil, &m))
		m.QueueOffset, m.PhysicalOffset, m.StoreTimeMillis = 7, 8, 9
		rec.SetPlace(7, 8, 9)
		if !bytes.Equal(rec, AppendRecord(nil, &m)) {
			t.Fatal("SetPlace and encoding afresh differ")
		}
		if rec.QueueOffset() != 7 || rec.PhysicalOffset() != 8 || rec.StoreTimeMillis() != 9 {
			t.Fatal("the accessors don't read what SetPlace wrote")
		}
	})
}

func TestABrokenRecordIsNamedNotRead(t *testing.T) {
	m := Message{Topic: "orders", Body: []byte("body"), Properties: AppendProperty(nil, "KEYS", "k1")}
	good := AppendRecord(nil, &m)
	for name, spoil := range map[string]func([]byte) []byte{
		"cut short":            func(b []byte) []byte { return b[:len(b)-1] },
		"length over the rest": func(b []byte) []byte { binary.BigEndian.PutUint32(b, uint32(len(b)+1)); return b },
		"tiny length":          func(b []byte) []byte { binary.BigEndian.PutUint32(b, 3); return b },
		"magic":                func(b []byte) []byte { b[posMagic]++; return b },
		"body length":          func(b []byte) []byte { b[Record(b).posBodyLen()] = 0x7F; return b },
		"IPv6 bit":             func(b []byte) []byte { b[posSysFlag+3] |= byte(SysBornHostV6); return b },
		"nothing":              func([]byte) []byte { return []byte{0} },
	} {
		b := spoil(bytes.Clone(good))
		if _, _, err := NextRecord(b); !errors.Is(err, ErrBadRecord) {
			t.Errorf("%s: got error %v, want ErrBadRecord", name, err)
		}
	}
	flipped := bytes.Clone(good)
	flipped[Record(flipped).posBodyLen()+4] ^= 1
	if err := Record(flipped).Check(true); !errors.Is(err, ErrBadRecord) {
		t.Errorf("a flipped bit in the body: got %v, want ErrBadRecord", err)
	}
}

func TestAConcatenationComesApartInOrder(t *testing.T) {
	var b []byte
	for i := range 10 {
		b = AppendRecord(b, &Message{Topic: "t", QueueOffset: int64(i), Body: make([]byte, i)})
	}
	var got []int64
	for r := range Records(append(b, 1, 2, 3)) {
		got = append(got, r.QueueOffset())
	}
	if !reflect.DeepEqual(got, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Fatalf("got %v", got)
	}
}

func FuzzNextRecordNeverPanics(f *testing.F) {
	f.Add(AppendRecord(nil, &Message{Topic: "orders", Body: []byte("b"), Properties: AppendProperty(nil, "a", "b")}))
	f.Add([]byte{0, 0, 0, 91})
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, rest, err := NextRecord(b)
		if err != nil {
			return
		}
		if len(rec)+len(rest) != len(b) {
			t.Fatal("bytes lost")
		}
		m, err := rec.Decode()
		if err != nil {
			t.Fatal(err)
		}
		_ = OffsetMsgID(m.StoreHost, m.PhysicalOffset)
		for range Properties(m.Properties) {
			continue
		}
	})
}
