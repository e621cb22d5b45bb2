package remoting

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"varve/internal/mq"
)

// messageQueue is RocketMQ's MessageQueue in JSON.
type messageQueue struct {
	BrokerName string `json:"brokerName"`
	QueueID    int32  `json:"queueId"`
	Topic      string `json:"topic"`
}

func fromQueue(q mq.Queue) messageQueue { return messageQueue{q.Broker, q.ID, q.Topic} }

func (m messageQueue) queue() mq.Queue {
	return mq.Queue{Broker: m.BrokerName, Topic: m.Topic, ID: m.QueueID}
}

func queuesOf(ms []messageQueue) []mq.Queue {
	out := make([]mq.Queue, len(ms))
	for i, m := range ms {
		out[i] = m.queue()
	}
	return out
}

// queueMap is a map keyed by MessageQueue. RocketMQ's JSON library writes the
// keys as objects, which is no JSON, and its clients read nothing else:
// {{"brokerName":"b","queueId":0,"topic":"t"}:value,…}.
type queueMap[V any] map[mq.Queue]V

// append writes the map in the order of its keys.
func (m queueMap[V]) append(dst []byte) ([]byte, error) {
	keys := make([]mq.Queue, 0, len(m))
	for q := range m {
		keys = append(keys, q)
	}
	slices.SortFunc(keys, func(a, b mq.Queue) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Broker, b.Broker), cmp.Compare(a.ID, b.ID))
	})
	dst = append(dst, '{')
	for i, q := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		key, err := json.Marshal(fromQueue(q))
		if err != nil {
			return nil, fmt.Errorf("encode queue %s: %w", q, err)
		}
		value, err := json.Marshal(m[q])
		if err != nil {
			return nil, fmt.Errorf("encode value of queue %s: %w", q, err)
		}
		dst = append(append(append(dst, key...), ':'), value...)
	}
	return append(dst, '}'), nil
}

// withQueueMap writes {"<name>":map<rest>}, where rest is further members with
// their leading comma.
func withQueueMap[V any](dst []byte, name string, m queueMap[V], rest string) ([]byte, error) {
	dst = append(dst, '{', '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':')
	dst, err := m.append(dst)
	if err != nil {
		return nil, err
	}
	return append(append(dst, rest...), '}'), nil
}

// maxKeyedMap bounds a map that parseQueueMap takes.
const maxKeyedMap = 1 << 16

// parseQueueMap reads what queueMap writes, and the same with quoted keys.
func parseQueueMap[V any](raw []byte) (map[mq.Queue]V, error) {
	out := make(map[mq.Queue]V)
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] != '{' {
		return nil, errors.New("queue map: want an object")
	}
	rest := bytes.TrimSpace(raw[1:])
	for len(rest) > 0 && rest[0] != '}' {
		if len(out) >= maxKeyedMap {
			return nil, fmt.Errorf("queue map: more than %d keys", maxKeyedMap)
		}
		var key messageQueue
		var value V
		var err error
		if rest, err = keyJSON(rest, &key); err != nil {
			return nil, fmt.Errorf("queue map: key: %w", err)
		}
		if len(rest) == 0 || rest[0] != ':' {
			return nil, fmt.Errorf("queue map: want a colon after key %v", key)
		}
		if rest, err = nextJSON(rest[1:], &value); err != nil {
			return nil, fmt.Errorf("queue map: value of %v: %w", key, err)
		}
		out[key.queue()] = value
		if len(rest) > 0 && rest[0] == ',' {
			rest = bytes.TrimSpace(rest[1:])
		}
	}
	if len(rest) == 0 {
		return nil, errors.New("queue map: no end")
	}
	return out, nil
}

func keyJSON(b []byte, key *messageQueue) ([]byte, error) {
	if b[0] != '"' {
		return nextJSON(b, key)
	}
	var quoted string
	rest, err := nextJSON(b, &quoted)
	if err != nil {
		return nil, err
	}
	return rest, json.Unmarshal([]byte(quoted), key)
}

// nextJSON decodes the first JSON value of b.
func nextJSON(b []byte, into any) (rest []byte, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(into); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b[d.InputOffset():]), nil
}

// dataVersion is RocketMQ's version of a table.
type dataVersion struct {
	Counter      int64 `json:"counter"`
	StateVersion int64 `json:"stateVersion"`
	Timestamp    int64 `json:"timestamp"`
}
