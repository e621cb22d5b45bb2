package main

import (
	"strings"
	"testing"

	"varve/internal/admin"
)

func TestFlushWaits(t *testing.T) {
	topics := []admin.ArchiveTopic{{Topic: "done"}, {Topic: "t", Pending: 2}}
	for want, s := range map[string]admin.ArchiveStatus{
		"the last message was archived only now":                           {},
		"2 messages wait, such as those of topic t":                        {Pending: 2, Topics: topics},
		"2 messages wait, such as those of topic t: no answer":             {Pending: 2, Topics: topics, Error: "no answer"},
		"0 messages wait; queue 1 of topic t on b is not archived: a hole": {Blocked: []admin.ArchiveBlocked{{Broker: "b", Topic: "t", Queue: 1, Reason: "a hole"}}},
	} {
		if got := flushWaits(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// An archive that can't be asked is not one without messages.
func TestArchivedRows(t *testing.T) {
	s := admin.ArchiveStatus{Topics: []admin.ArchiveTopic{{Topic: "orders", Pending: 5}}}
	for unreached, want := range map[string]string{
		"":                  "orders 0 0 0 B - - 5 -",
		"no answer since 9": "orders - - - - - 5 -",
	} {
		s.Unreached = unreached
		var b strings.Builder
		tab := newTable(&b)
		archivedRows(tab, s)
		if err := tab.w.Flush(); err != nil {
			t.Fatal(err)
		}
		_, row, _ := strings.Cut(b.String(), "\n")
		if got := strings.Join(strings.Fields(row), " "); got != want {
			t.Errorf("unreached %q: %q, want %q", unreached, got, want)
		}
	}
}
