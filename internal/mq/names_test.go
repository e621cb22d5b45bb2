package mq

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestTagHashIsJavasHashCode(t *testing.T) {
	for tag, want := range map[string]int64{"": 0, "TagA": 2598919, "*": 42, "支付": 823177, "😀": 1772899} {
		if got := TagHash(tag); got != want {
			t.Errorf("TagHash(%q) = %d, want %d", tag, got, want)
		}
	}
}

func TestTenantsComeOutOfNames(t *testing.T) {
	for name, want := range map[string][2]string{
		"orders":        {DefaultTenant, "orders"},
		"INST%orders":   {"INST", "orders"},
		"%RETRY%g":      {DefaultTenant, "%RETRY%g"},
		"%RETRY%INST%g": {"INST", "%RETRY%g"},
		"%DLQ%INST%g":   {"INST", "%DLQ%g"},
		"%orders":       {DefaultTenant, "%orders"},
		"orders%":       {DefaultTenant, "orders%"},
		"INST%a%b":      {"INST", "a%b"},
	} {
		tenant, local := SplitTenant(name)
		if [2]string{tenant, local} != want {
			t.Errorf("SplitTenant(%q) = %q, %q, want %q", name, tenant, local, want)
		}
	}
}

func TestPropertiesKeepTheirOrder(t *testing.T) {
	var p []byte
	p = AppendProperty(p, "KEYS", "k1 k2")
	p = AppendProperty(p, "TAGS", "A")
	p = AppendProperty(p, "TAG", "not TAGS")
	if v, ok := Property(p, "TAGS"); !ok || string(v) != "A" {
		t.Errorf("TAGS = %q, %v", v, ok)
	}
	if v, ok := Property(p[:len(p)-1], "TAG"); !ok || string(v) != "not TAGS" {
		t.Errorf("a last pair without separator: TAG = %q, %v", v, ok)
	}
	if _, ok := Property(p, "KEY"); ok {
		t.Error("a prefix of a name was found")
	}
	if got := Keys(p); !slices.Equal(got, []string{"k1", "k2"}) {
		t.Errorf("Keys = %q", got)
	}
	p = SetProperty(p, "KEYS", "k3")
	var names []string
	for k := range Properties(p) {
		names = append(names, k)
	}
	if !slices.Equal(names, []string{"TAGS", "TAG", "KEYS"}) {
		t.Errorf("after SetProperty: %q", names)
	}
	if CheckProperty("a\x01", "v") == nil || CheckProperty("", "v") == nil || CheckProperty("a", "\x02") == nil {
		t.Error("a property that cannot be stored passed")
	}
}

func TestOffsetMsgIDGivesHostAndPositionBack(t *testing.T) {
	for _, h := range []string{"127.0.0.1:10911", "[2001:db8::1]:10911"} {
		host := netip.MustParseAddrPort(h)
		id := OffsetMsgID(host, 1<<40+5)
		got, phys, err := ParseOffsetMsgID(id)
		if err != nil || got != host || phys != 1<<40+5 {
			t.Errorf("%s: %s gave %v, %d, %v", h, id, got, phys, err)
		}
	}
	if id := OffsetMsgID(netip.MustParseAddrPort("127.0.0.1:10911"), 1); id != "7F00000100002A9F0000000000000001" {
		t.Errorf("id = %s", id)
	}
	for _, bad := range []string{"", "7F", "zz00000100002A9F0000000000000001"} {
		if _, _, err := ParseOffsetMsgID(bad); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

func TestAMessageGroupKeepsItsQueueWhenQueuesAreAdded(t *testing.T) {
	moved := 0
	for i := range 1000 {
		g := strings.Repeat("g", i%7) + string(rune('a'+i%26)) + strings.Repeat("x", i%11)
		four, five := QueueOfGroup(g, 4), QueueOfGroup(g, 5)
		if four < 0 || four > 3 || five < 0 || five > 4 {
			t.Fatalf("group %q: queue %d of 4, %d of 5", g, four, five)
		}
		if four != five {
			if moved++; five != 4 {
				t.Fatalf("group %q moved from queue %d to %d, not to the new one", g, four, five)
			}
		}
	}
	if moved == 0 || moved > 400 {
		t.Errorf("%d of 1000 groups moved, want a fifth or so", moved)
	}
}

func TestATenantStandsBeforeItsNames(t *testing.T) {
	for _, tc := range []struct{ tenant, name, want string }{
		{"", "orders", "orders"},
		{"shop", "orders", "shop%orders"},
		{"shop", "%DLQ%g", "%DLQ%shop%g"},
		{"", "%RETRY%g", "%RETRY%g"},
	} {
		got := JoinTenant(tc.tenant, tc.name)
		if got != tc.want {
			t.Errorf("%q of %q is %q, want %q", tc.name, tc.tenant, got, tc.want)
		}
		if tenant, name := SplitTenant(got); tc.tenant != "" && (tenant != tc.tenant || name != tc.name) {
			t.Errorf("%q splits into %q and %q", got, tenant, name)
		}
	}
}
