package mq

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
)

func TestTenantsAreTakenOutOfRecords(t *testing.T) {
	host := netip.MustParseAddrPort("10.0.0.1:10911")
	record := func(topic string, props ...string) []byte {
		m := Message{Topic: topic, QueueID: 3, QueueOffset: 7, PhysicalOffset: 99, Body: []byte("acme%body"), BornHost: host, StoreHost: host, StoreTimeMillis: 5}
		for i := 0; i < len(props); i += 2 {
			m.Properties = AppendProperty(m.Properties, props[i], props[i+1])
		}
		return AppendRecordCRC(nil, &m, 1234)
	}
	stored := slices.Concat(
		record("plain", "KEYS", "k"),
		record("acme%orders", "KEYS", "acme%k", "UNIQ_KEY", "1"),
		record("%RETRY%acme%g", PropRetryTopic, "acme%orders", PropProducerGroup, "acme%p", "note", "acme%x"),
		record("acmeother%orders"),
		record("orders", "note", "acme"),
	)
	want := slices.Concat(
		record("plain", "KEYS", "k"),
		record("orders", "KEYS", "acme%k", "UNIQ_KEY", "1"),
		record("%RETRY%g", PropRetryTopic, "orders", PropProducerGroup, "p", "note", "acme%x"),
		record("acmeother%orders"),
		record("orders", "note", "acme"),
	)
	before := bytes.Clone(stored)
	got := WithoutTenant(stored, "acme")
	for i, rec := range slices.Collect(Records(want)) {
		g := slices.Collect(Records(got))[i]
		gm, _ := g.Decode()
		wm, _ := rec.Decode()
		if gm.Topic != wm.Topic || gm.PhysicalOffset != 99 || gm.QueueOffset != 7 || gm.QueueID != 3 || g.BodyCRC() != 1234 || string(gm.Body) != "acme%body" {
			t.Errorf("record %d is %+v, want %+v", i, gm, wm)
		}
		for name, v := range Properties(wm.Properties) {
			if gm.Property(name) != v {
				t.Errorf("record %d: property %s is %q, want %q", i, name, gm.Property(name), v)
			}
		}
	}
	if !bytes.Equal(stored, before) {
		t.Error("what is stored was changed")
	}
	for _, tenant := range []string{"", "other", "default"} {
		if got := WithoutTenant(stored, tenant); &got[0] != &stored[0] {
			t.Errorf("records without tenant %q were copied", tenant)
		}
	}
	for name, want := range map[string]string{"orders": "acme%orders", "acme%orders": "acme%orders", "%RETRY%g": "%RETRY%acme%g", "%DLQ%acme%g": "%DLQ%acme%g"} {
		if got := InTenant("acme", name); got != want {
			t.Errorf("%q is %q", name, got)
		}
	}
}
