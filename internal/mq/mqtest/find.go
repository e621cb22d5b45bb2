package mqtest

import (
	"errors"
	"strings"
	"testing"

	"varve/internal/mq"
)

func (s *suite) findPhysical(t *testing.T, f mq.Finder) {
	known := make(map[int64]bool)
	for i := range s.all {
		known[s.all[i].PhysicalOffset] = true
	}
	for i := range s.all {
		m := &s.all[i]
		q := mq.Queue{Broker: Broker, Topic: m.Topic, ID: m.QueueID}
		if !s.rangeOf(t, q).Contains(m.QueueOffset) {
			continue
		}
		rec, err := f.FindPhysical(t.Context(), Broker, m.PhysicalOffset)
		if err != nil || string(rec) != string(s.recs[q][m.QueueOffset]) {
			t.Fatalf("FindPhysical(%d), the place of %v offset %d: %d bytes, %v",
				m.PhysicalOffset, q, m.QueueOffset, len(rec), err)
		}
		for _, at := range []int64{m.PhysicalOffset + 1, m.PhysicalOffset - 4} {
			if rec, err := f.FindPhysical(t.Context(), Broker, at); !known[at] && !errors.Is(err, mq.ErrNotFound) {
				t.Fatalf("FindPhysical(%d), where no record starts: %d bytes, %v", at, len(rec), err)
			}
		}
	}
	last := s.all[len(s.all)-1]
	for _, at := range []int64{-1, last.PhysicalOffset + 1<<40} {
		if _, err := f.FindPhysical(t.Context(), Broker, at); !errors.Is(err, mq.ErrNotFound) {
			t.Errorf("FindPhysical(%d): %v, want ErrNotFound", at, err)
		}
	}
	if _, err := f.FindPhysical(t.Context(), "other", last.PhysicalOffset); !errors.Is(err, mq.ErrNotFound) {
		t.Errorf("FindPhysical of another broker group: %v, want ErrNotFound", err)
	}
}

func (s *suite) findKey(t *testing.T, f mq.Finder) {
	mid := s.all[len(s.all)/2].StoreTimeMillis
	for _, k := range []mq.KeyQuery{
		{Topic: lonely, Key: "only"},
		{Topic: lonely, Key: "only", Unique: true},
		{Topic: orders, Key: "only"},
		{Topic: "never", Key: "only"},
		{Topic: orders, Key: "UNIQ000010"},
		{Topic: orders, Key: "UNIQ000010", Unique: true},
		{Topic: orders, Key: "UNIQ00001"},
		{Topic: orders, Key: "key-10"},
		{Topic: orders, Key: "key-10", Unique: true},
		{Topic: orders, Key: "common10"},
		{Topic: payments, Key: "common3"},
		{Topic: orders, Key: "common10", FromMillis: mid},
		{Topic: orders, Key: "common10", ToMillis: mid},
		{Topic: orders, Key: "common10", FromMillis: mid - 100, ToMillis: mid + 100},
		{Topic: orders, Key: "common10", Max: 3},
		{Topic: orders, Key: "common10", ToMillis: mid, Max: 1},
		{Topic: orders, Key: "spaced"},
		{Topic: orders, Key: "out", Max: 2},
		{Topic: orders, Key: "spaced   out"},
		{Topic: orders, Key: ""},
	} {
		s.checkFindKey(t, f, k)
	}
}

func (s *suite) checkFindKey(t *testing.T, f mq.Finder, k mq.KeyQuery) {
	t.Helper()
	b, err := f.FindKey(t.Context(), k)
	if err != nil {
		t.Errorf("FindKey(%+v): %v", k, err)
		return
	}
	want := s.withKey(t, k)
	n := 0
	for rec := range mq.Records(b.Body) {
		if n < len(want) && string(rec) != string(mq.AppendRecord(nil, &want[n])) {
			t.Errorf("FindKey(%+v): record %d is %s/%d offset %d, want %s/%d offset %d", k, n,
				rec.Topic(), rec.QueueID(), rec.QueueOffset(), want[n].Topic, want[n].QueueID, want[n].QueueOffset)
			return
		}
		n++
	}
	if n != len(want) || b.Count != n {
		t.Errorf("FindKey(%+v): %d records, count %d, want %d", k, n, b.Count, len(want))
	}
}

// withKey gives the messages that k asks for, newest first.
func (s *suite) withKey(t *testing.T, k mq.KeyQuery) []mq.Message {
	t.Helper()
	var out []mq.Message
	for i := len(s.all) - 1; i >= 0; i-- {
		m := s.all[i]
		q := mq.Queue{Broker: Broker, Topic: m.Topic, ID: m.QueueID}
		switch {
		case m.Topic != k.Topic || !hasKey(&m, k), !s.rangeOf(t, q).Contains(m.QueueOffset):
		case k.FromMillis > 0 && m.StoreTimeMillis < k.FromMillis:
		case k.ToMillis > 0 && m.StoreTimeMillis > k.ToMillis:
		case k.Max > 0 && len(out) == k.Max:
		default:
			out = append(out, m)
		}
	}
	return out
}

func hasKey(m *mq.Message, k mq.KeyQuery) bool {
	if k.Key == "" {
		return false
	}
	if m.Property(mq.PropUniqKey) == k.Key {
		return true
	}
	if k.Unique {
		return false
	}
	for _, w := range strings.Fields(m.Property(mq.PropKeys)) {
		if w == k.Key {
			return true
		}
	}
	return false
}
