package main

import (
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
