package hot

import (
	"fmt"
	"maps"
)

// An ending is a deletion of a topic that the archive has not heard of yet: the
// topic's table, if it has one, is of before. It outlives restarts, and it stays
// until EndingDone, whatever is trimmed meanwhile.

// Endings gives the topics that have one, and the positions at which they were
// deleted: what the log has of them from there on is of their next incarnation.
func (s *Store) Endings() map[string]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.endings)
}

// EndingsVersion grows with every ending, before a message of the topic's next
// incarnation is confirmed.
func (s *Store) EndingsVersion() uint64 { return s.endingsVersion.Load() }

// Ending is the position of a topic's ending, 0 for none.
func (s *Store) Ending(topic string) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.endings[topic]
}

// Reborn says that a topic has an ending and messages again: of its table
// nothing belongs to it.
func (s *Store) Reborn(topic string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.endings[topic] > 0 && s.topics[topic] != nil
}

// EndingDone forgets a topic's ending, durably; false says that the topic was
// deleted again, at another position. Only the connector calls it, when the
// former incarnation's table takes nothing any more and before it makes the
// next one's.
func (s *Store) EndingDone(topic string, pos int64) (bool, error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	s.trimMu.Lock()
	defer s.trimMu.Unlock()
	switch s.Ending(topic) {
	case 0:
		return true, nil
	case pos:
	default:
		return false, nil
	}
	u := s.db.Update()
	u.DropEnding(topic)
	if err := u.Commit(); err != nil {
		return false, fmt.Errorf("ending of topic %s: %w", topic, err)
	}
	if err := s.db.Flush(); err != nil {
		return false, fmt.Errorf("ending of topic %s: %w", topic, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.endings, topic)
	return true, nil
}
