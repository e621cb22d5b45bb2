package broker

import (
	"fmt"
	"slices"
	"strings"

	"varve/internal/meta"
	"varve/internal/mq"
)

// How a group's clients get their messages.
const (
	ModePull = "PULL"
	ModePop  = "POP"
)

// RequestMode says how a group's clients get their messages of a topic, if they
// ask the broker. The JSON names are RocketMQ's.
type RequestMode struct {
	Topic string `json:"topic"`
	Group string `json:"consumerGroup"`
	Mode  string `json:"mode"` // ModePull, ModePop
	// ShareQueues is with how many members after it in line a POP client shares
	// its queues; with none, all clients POP from all queues.
	ShareQueues int32 `json:"popShareQueueNum"`
}

func (m *RequestMode) key() string { return m.Topic + "@" + m.Group }

func loadRequestModes(s *meta.Store) (*meta.Settings[RequestMode], error) {
	return meta.LoadSettings(s, meta.SettingsOf[RequestMode]{
		What: "request-mode",
		Name: (*RequestMode).key,
		New:  func(string) RequestMode { return RequestMode{Mode: ModePull} },
		Check: func(m *RequestMode) error {
			if m.Topic == "" || m.Group == "" || m.Mode != ModePull && m.Mode != ModePop || m.ShareQueues < -1 {
				return fmt.Errorf("request mode %q of group %q in topic %q, shared by %d: want PULL or POP, and a number",
					m.Mode, m.Group, m.Topic, m.ShareQueues)
			}
			return nil
		},
		Clone: func(m *RequestMode) *RequestMode {
			return &RequestMode{strings.Clone(m.Topic), strings.Clone(m.Group), strings.Clone(m.Mode), m.ShareQueues}
		},
		Equal: func(a, b *RequestMode) bool { return *a == *b },
	})
}

// SetRequestMode says how a group gets its messages of a topic, as a rule before
// the group's first client comes.
func (b *Broker) SetRequestMode(m RequestMode) error {
	switch {
	case b.closed.Load():
		return ErrClosed
	case strings.HasPrefix(m.Topic, mq.RetryPrefix):
		return fmt.Errorf("%w: retry topic %q is always pulled", ErrForbidden, m.Topic)
	}
	if _, ok := b.topics.Get(m.Topic); !ok {
		return fmt.Errorf("%w: %q", ErrNoTopic, m.Topic)
	}
	if m.Mode != ModePull && m.Mode != ModePop || m.ShareQueues < -1 {
		return fmt.Errorf("%w: request mode %q shared by %d, want PULL or POP", ErrBadRequest, m.Mode, m.ShareQueues)
	}
	if _, err := b.groupFor(m.Group); err != nil {
		return err
	}
	changed, err := b.modes.Put(m)
	if err != nil {
		return storeError(err)
	}
	if changed {
		b.logger.Info("request mode set", "topic", m.Topic, "group", m.Group, "mode", m.Mode, "share", m.ShareQueues)
	}
	return nil
}

// RequestModes gives what SetRequestMode has set; they must not be changed.
func (b *Broker) RequestModes() []*RequestMode { return b.modes.All() }

// RequestModeOf is how a group gets its messages of a topic: by pull where
// nobody said otherwise.
func (b *Broker) RequestModeOf(topic, group string) RequestMode {
	m := RequestMode{Topic: topic, Group: group, Mode: ModePull}
	if have, ok := b.modes.Get(m.key()); ok {
		return *have
	}
	return m
}

// Strategies by which queues are shared among the members of a group.
const (
	strategyAverage = "AVG"
	strategyCircle  = "AVG_BY_CIRCLE"
)

// Assign gives the queues that a member of a group is to consume; all and
// members are sorted. known is false where the strategy isn't, or the client is
// no member.
func Assign(mode RequestMode, strategy, clientID string, all []mq.Queue, members []string) (queues []mq.Queue, known bool) {
	if strategy != strategyAverage && strategy != strategyCircle {
		return nil, false
	}
	at := slices.Index(members, clientID)
	if at < 0 {
		return nil, false
	}
	if mode.Mode != ModePop {
		return share(strategy, all, at, len(members)), true
	}
	switch n := int(mode.ShareQueues); {
	case n <= 0 || n >= len(members)-1: // everybody has everything
		for _, q := range all {
			q.ID = AnyQueue
			if !slices.Contains(queues, q) {
				queues = append(queues, q)
			}
		}
		return queues, true
	case len(members) > len(all): // nobody goes without
		return []mq.Queue{all[at%len(all)]}, true
	default:
		for i := range n + 1 {
			queues = append(queues, share(strategy, all, (at+i)%len(members), len(members))...)
		}
		return queues, true
	}
}

// share is the part of one member among n: a stretch, or every n-th queue.
func share(strategy string, all []mq.Queue, at, n int) (out []mq.Queue) {
	if strategy == strategyCircle {
		for i := at; i < len(all); i += n {
			out = append(out, all[i])
		}
		return out
	}
	each, more := len(all)/n, len(all)%n
	from := at*each + min(at, more)
	to := from + each
	if at < more {
		to++
	}
	return slices.Clone(all[from:to])
}
