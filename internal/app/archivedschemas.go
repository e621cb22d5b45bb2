package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"varve/internal/backup"
	"varve/internal/objstore"
	"varve/internal/typed"
)

// ArchivedSchemas gives the schemas of topics as the state snapshots of an
// archive's bucket have them, for who has nothing but the bucket.
type ArchivedSchemas struct {
	bucket objstore.Bucket

	mu      sync.Mutex
	brokers map[string]brokerSchemas
	layouts map[string]*typed.Layout // by broker, topic and version
}

type brokerSchemas struct {
	topics map[string]typed.Topic
	err    error
}

// NewArchivedSchemas reads nothing yet.
func NewArchivedSchemas(b objstore.Bucket) *ArchivedSchemas {
	return &ArchivedSchemas{bucket: b, brokers: map[string]brokerSchemas{}, layouts: map[string]*typed.Layout{}}
}

// Layout gives a version of a topic's schema, or says why it can't.
func (s *ArchivedSchemas) Layout(ctx context.Context, broker, topic string, version int) (*typed.Layout, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fmt.Sprintf("%s\x00%s\x00%d", broker, topic, version)
	if l := s.layouts[key]; l != nil {
		return l, nil
	}
	of, ok := s.brokers[broker]
	if !ok {
		of.topics, of.err = s.read(ctx, broker)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.brokers[broker] = of
	}
	if of.err != nil {
		return nil, fmt.Errorf("the schemas of broker group %s can't be read: %w", broker, of.err)
	}
	t := of.topics[topic]
	i := slices.IndexFunc(t.Versions, func(v typed.Version) bool { return v.Number == version })
	if i < 0 {
		return nil, fmt.Errorf("the state of broker group %s in the bucket has no version %d of a schema of topic %s", broker, version, topic)
	}
	then := typed.Topic{Name: topic, NextID: t.NextID, Versions: t.Versions[:i+1]}
	l, err := then.Layout()
	if err != nil {
		return nil, err
	}
	s.layouts[key] = l
	return l, nil
}

// read reads the schemas of a broker group's newest snapshot.
func (s *ArchivedSchemas) read(ctx context.Context, broker string) (map[string]typed.Topic, error) {
	refs, err := backup.List(ctx, s.bucket, broker)
	if err != nil || len(refs) == 0 {
		return nil, err
	}
	m, err := backup.Load(ctx, s.bucket, broker, refs[0])
	if err != nil {
		return nil, err
	}
	out := map[string]typed.Topic{}
	section, ok := m.Section(schemaSection)
	if !ok {
		return out, nil
	}
	return out, section.Each(ctx, s.bucket, broker, func(topic string, raw []byte) error {
		var t typed.Topic
		if err := json.Unmarshal(raw, &t); err != nil {
			return fmt.Errorf("schema of topic %s: %w", topic, err)
		}
		out[topic] = t
		return nil
	})
}
