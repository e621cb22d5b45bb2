package connector

import (
	"fmt"
	"slices"
	"testing"

	"varve/internal/archive"
)

// uploaded gives a topic another file to commit.
func (m *manual) uploaded(name string) {
	q := m.queueOf(m.topicOf([]byte(name)), 0)
	q.frozen = append(q.frozen, &segment{q: q, file: &archive.DataFile{}})
	m.readied(q.topic)
}

// Topics are committed in the order in which they became ready, and one that has
// always more waits behind the others each time.
func TestTopicsCommitInTurn(t *testing.T) {
	m := newManual()
	const many = 50
	var want, got []string
	for i := range many {
		name := fmt.Sprint("t", i)
		m.uploaded(name)
		want = append(want, name)
	}
	m.uploaded("t1")
	busy := m.topicOf([]byte("t3"))
	busy.outstanding = 1 // more of it is being written
	for range many - 1 {
		c := m.nextCommit()
		if c == nil {
			t.Fatalf("nothing to commit after %v", got)
		}
		got = append(got, c.topic.name)
		m.uploaded(c.topic.name) // while it commits
		c.topic.queues[0].frozen = c.topic.queues[0].frozen[len(c.segments):]
		c.topic.ready -= len(c.segments)
		c.topic.committing = false
	}
	want = slices.DeleteFunc(want, func(name string) bool { return name == "t3" })
	if !slices.Equal(got, want) {
		t.Errorf("committed %v, want %v", got, want)
	}
	if c := m.nextCommit(); c == nil || c.topic.name != "t0" {
		t.Errorf("next is %+v, want t0 again", c)
	}
	m.now = m.now.Add(commitDelay)
	if c := m.nextCommit(); c == nil || c.topic != busy {
		t.Errorf("next is %+v, want what has waited longest", c)
	}
	if len(m.readyTo) != many-2 {
		t.Errorf("%d topics are in line, want %d", len(m.readyTo), many-2)
	}
}
