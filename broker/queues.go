package broker

import (
	"context"
	"fmt"
	"math"

	"varve/internal/mq"
)

// QueueEntry is one row of a queue's index.
type QueueEntry struct {
	Physical int64
	Size     int
	TagCode  int64
	// Matches says whether the asking group's filter keeps the message.
	Matches bool
}

// maxQueueEntries bounds one QueueEntries.
const maxQueueEntries = 1024

// QueueEntries gives rows of a queue's index from an offset on, over hot and
// archived messages, and the queue's range. Past the queue's end there are
// none.
func (b *Broker) QueueEntries(ctx context.Context, topic string, queueID int32, from int64, n int, f mq.Filter) ([]QueueEntry, mq.Range, error) {
	q, err := b.queueOf(topic, queueID)
	if err != nil {
		return nil, mq.Range{}, err
	}
	r, err := b.rangeOf(ctx, q)
	if err != nil {
		return nil, r, err
	}
	out := []QueueEntry{}
	n = min(n, maxQueueEntries)
	for at := max(from, r.From); len(out) < n && at < r.To; {
		batch, err := b.reader.Read(ctx, q, at, mq.Limit{Messages: n - len(out), Bytes: b.cfg.MaxPullBytes})
		if err != nil {
			return nil, r, fmt.Errorf("index of %v from %d: %w", q, at, err)
		}
		for rec := range mq.Records(batch.Body) {
			tag, _ := mq.Property(rec.Properties(), mq.PropTags)
			e := QueueEntry{Physical: rec.PhysicalOffset(), Size: len(rec), TagCode: mq.TagHash(string(tag)), Matches: true}
			if f != nil {
				e.Matches = f.MatchRecord(rec)
			}
			out = append(out, e)
		}
		if batch.Next <= at {
			break
		}
		at = batch.Next
	}
	return out, r, nil
}

// LowestOffsets gives, queue by queue of a topic, the lowest progress of all
// groups that have any, those in except left out. A queue that compare, if not
// empty, is behind in gets math.MaxInt64: its progress would lose messages.
func (b *Broker) LowestOffsets(topic string, except map[string]bool, compare string) map[int32]int64 {
	lowest := map[int32]int64{}
	for _, group := range b.offsets.Groups(topic) {
		if except[group] {
			continue
		}
		for id, off := range b.offsets.Offsets(group, topic) {
			if have, ok := lowest[id]; !ok || off < have {
				lowest[id] = off
			}
		}
	}
	if compare == "" {
		return lowest
	}
	for id, off := range b.offsets.Offsets(compare, topic) {
		if have, ok := lowest[id]; !ok || have > off {
			lowest[id] = math.MaxInt64
		}
	}
	return lowest
}

// Progress is a group's progress in the queues of one topic.
type Progress struct {
	Group, Topic    string
	Offsets, Pulled map[int32]int64
}

// AllProgress gives the progress of every group, topic by topic.
func (b *Broker) AllProgress() []Progress {
	var out []Progress
	for _, t := range b.topics.All() {
		for _, g := range b.offsets.Groups(t.Name) {
			p := Progress{Group: g, Topic: t.Name, Offsets: b.offsets.Offsets(g, t.Name), Pulled: map[int32]int64{}}
			for id := range p.Offsets {
				if off := b.offsets.Pulled(g, t.Name, id); off > 0 {
					p.Pulled[id] = off
				}
			}
			out = append(out, p)
		}
	}
	return out
}

// Forbid takes the right to read a topic from a group, or gives it back.
func (b *Broker) Forbid(group, topic string, forbidden bool) error {
	if b.closed.Load() {
		return ErrClosed
	}
	g, ok := b.groups.Get(group)
	if !ok {
		return fmt.Errorf("%w: %q", ErrNoGroup, group)
	}
	if _, ok := b.topics.Get(topic); !ok {
		return fmt.Errorf("%w: %q", ErrNoTopic, topic)
	}
	if _, err := b.groups.Put(g.Forbidding(topic, forbidden)); err != nil {
		return storeError(err)
	}
	b.waits.wakeTopic(topic)
	b.logger.Info("reading set", "group", group, "topic", topic, "forbidden", forbidden)
	return nil
}

// mayRead says why a group may not read a topic, nil where it may.
func mayRead(g *Group, t *Topic) error {
	switch {
	case !g.ConsumeEnabled:
		return fmt.Errorf("%w: group %q may not consume", ErrForbidden, g.Name)
	case !t.Readable():
		return fmt.Errorf("%w: topic %q may not be read", ErrForbidden, t.Name)
	case g.Forbids(t.Name):
		return fmt.Errorf("%w: group %q may not read topic %q", ErrForbidden, g.Name, t.Name)
	}
	return nil
}

// DiskRatio is how much of the disk that the log may use it does use.
func (b *Broker) DiskRatio() float64 {
	s := b.log.Stats()
	if s.FreeBytes < 0 || s.Bytes+s.FreeBytes == 0 {
		return 0
	}
	return float64(s.Bytes) / float64(s.Bytes+s.FreeBytes)
}

// LogRange is the positions that the log holds and has confirmed.
func (b *Broker) LogRange() (from, to, oldestMillis int64) {
	s := b.log.Stats()
	return s.FirstPhysical, s.Confirmed, s.OldestMillis
}
