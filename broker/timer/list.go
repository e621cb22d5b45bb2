package timer

import (
	"errors"
	"fmt"

	"varve/internal/mq"
)

// maxListScan bounds the entries that one List looks through.
const maxListScan = 100_000

// Held is one message that waits.
type Held struct {
	Handle
	Level      string // delay level, empty for one that is due at a time
	SentMillis int64
	Bytes      int // of its record
}

// Query asks for messages that wait.
type Query struct {
	Topic      string // real topic; all where empty
	FromMillis int64  // due then or later
	Max        int
}

var errEnough = errors.New("enough")

// List gives the messages that wait, soonest first; more says that there may be
// others. What was sent or delivered within the last second may be missing or
// still be there.
func (s *Store) List(q Query) (held []Held, more bool, err error) {
	n := 0
	err = s.table.ScanRange(entry{max(q.FromMillis, 0), 0}.key(), "", func(key string, raw []byte) error {
		if n++; len(held) == q.Max || n > maxListScan {
			return errEnough
		}
		e, err := entryOf(key)
		if err != nil {
			return err
		}
		rec := mq.Record(raw)
		get := func(name string) string {
			v, _ := mq.Property(rec.Properties(), name)
			return string(v)
		}
		topic := get(mq.PropRealTopic)
		if q.Topic != "" && q.Topic != topic {
			return nil
		}
		held = append(held, Held{
			Handle: Handle{topic, s.o.Broker, e.due, get(mq.PropUniqKey), e.physical},
			Level:  get(mq.PropDelay), SentMillis: rec.StoreTimeMillis(), Bytes: len(rec),
		})
		return nil
	})
	if errors.Is(err, errEnough) {
		return held, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("timer: list: %w", err)
	}
	return held, false, nil
}
