package filter

import (
	"fmt"
	"strings"
	"testing"

	"varve/internal/mq"
)

func record(props ...string) mq.Record {
	m := mq.Message{Topic: "orders", Body: []byte("x")}
	for i := 0; i < len(props); i += 2 {
		m.Properties = mq.AppendProperty(m.Properties, props[i], props[i+1])
	}
	return mq.AppendRecord(nil, &m)
}

func TestFilters(t *testing.T) {
	paid := record(mq.PropTags, "paid", "amount", "7")
	sent := record(mq.PropTags, "sent", "amount", "70")
	bare := record()
	aa, bb := record(mq.PropTags, "Aa"), record(mq.PropTags, "BB") // one hash, two tags
	for _, c := range []struct {
		typ, expression string
		keeps           []mq.Record
		drops           []mq.Record
	}{
		{"", "", []mq.Record{paid, sent, bare}, nil},
		{"TAG", "*", []mq.Record{paid, sent, bare}, nil},
		{"TAG", " * ", []mq.Record{paid, bare}, nil},
		{"TAG", "paid", []mq.Record{paid}, []mq.Record{sent, bare}},
		{"", "paid || sent", []mq.Record{paid, sent}, []mq.Record{bare}},
		{"", "paid||", []mq.Record{paid}, []mq.Record{sent}},
		{"TAG", "Aa", []mq.Record{aa}, []mq.Record{bb}},
		{"TAG", "Aa||x", []mq.Record{aa}, []mq.Record{bb}},
		{"SQL92", "amount > 10", []mq.Record{sent}, []mq.Record{paid, bare}},
		{"SQL92", "TAGS = 'paid'", []mq.Record{paid}, []mq.Record{sent, bare}},
	} {
		f, err := Compile(c.typ, c.expression)
		if err != nil {
			t.Errorf("%s %q: %v", c.typ, c.expression, err)
			continue
		}
		match := func(r mq.Record) bool {
			if f == nil {
				return true
			}
			tag, _ := mq.Property(r.Properties(), mq.PropTags)
			hash := mq.TagHash(string(tag))
			byRecord := f.MatchTag(hash) && f.MatchRecord(r)
			if byRecord && !MatchProperties(f, hash, r.Properties()) {
				t.Errorf("%s %q: keeps record %q and refuses its arrival", c.typ, c.expression, r.Properties())
			}
			return byRecord
		}
		for _, r := range c.keeps {
			if !match(r) {
				t.Errorf("%s %q drops %q", c.typ, c.expression, r.Properties())
			}
		}
		for _, r := range c.drops {
			if match(r) {
				t.Errorf("%s %q keeps %q", c.typ, c.expression, r.Properties())
			}
		}
	}
}

func TestBadExpressions(t *testing.T) {
	many := strings.Repeat("t||", maxTags+1)
	for _, c := range []struct{ typ, expression, want string }{
		{"TAG", "||", "names no tag"},
		{"TAG", many, "want at most 1024"},
		{"SQL92", "amount >", ""},
		{"REGEX", "a.*", `expression type "REGEX"`},
	} {
		if _, err := Compile(c.typ, c.expression); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.20q gives error %v, want one with %q", c.typ, c.expression, err, c.want)
		}
	}
}

func TestCacheSharesAndStaysBounded(t *testing.T) {
	c := NewCache()
	a, err := c.Compile(Tag, "a||b")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := c.Compile(Tag, "a||b")
	if fmt.Sprintf("%p", a.(tags).names) != fmt.Sprintf("%p", b.(tags).names) {
		t.Error("one expression was compiled twice")
	}
	if _, err := c.Compile(SQL92, "("); err == nil {
		t.Error("a bad expression compiles")
	}
	if _, err := c.Compile(SQL92, "("); err == nil {
		t.Error("a bad expression compiles the second time")
	}
	for i := range 3 * cacheSize {
		if _, err := c.Compile(Tag, fmt.Sprint("t", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.m) > cacheSize {
		t.Errorf("cache has %d expressions, bound is %d", len(c.m), cacheSize)
	}
}
