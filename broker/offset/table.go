package offset

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"varve/internal/meta"
)

// tableName is the meta table that holds one saved record a (group, topic).
const tableName = "offset"

// none stands for a queue that the group hasn't committed.
const none = -1

type key struct{ group, topic string }

// id is the key in the meta table; neither name can hold '@'.
func (k key) id() string { return k.group + "@" + k.topic }

// saved is the record of one (group, topic): offsets by queue id, and the
// resets that no pull has learned of yet.
type saved struct {
	Offsets map[int32]int64 `json:"offsets"`
	Resets  map[int32]int64 `json:"resets,omitempty"`
}

// progress is one group in one topic.
type progress struct {
	mu      sync.Mutex
	offsets []int64 // by queue id, none where not committed
	pulled  []int64 // by queue id, where the last pull that found something ended; not saved
	resets  map[int32]int64
	dirty   bool // Invariant: in Table.dirty if and only if true
	dead    bool // deleted; not to be saved again
}

// Table is the progress of all groups.
type Table struct {
	store *meta.Store
	meta  meta.Table

	flushing sync.Mutex // one flush or deletion at a time

	mu    sync.RWMutex
	m     map[key]*progress
	dirty []key
}

// Load reads the progress of a meta store.
func Load(s *meta.Store) (*Table, error) {
	t := &Table{store: s, meta: s.Table(tableName), m: map[key]*progress{}}
	err := t.meta.Scan("", func(id string, raw []byte) error {
		var rec saved
		if err := json.Unmarshal(raw, &rec); err != nil {
			return fmt.Errorf("offsets %q in the meta store: %w", id, err)
		}
		group, topic, ok := strings.Cut(id, "@")
		if !ok {
			return fmt.Errorf("offsets %q in the meta store: no topic in the key", id)
		}
		p := &progress{resets: rec.Resets}
		for queue, off := range rec.Offsets {
			p.set(queue, off)
		}
		t.m[key{group, topic}] = p
		return nil
	})
	return t, err
}

func (p *progress) set(queue int32, off int64) { p.offsets = set(p.offsets, queue, off) }

func (p *progress) get(queue int32) int64 { return get(p.offsets, queue) }

func set(by []int64, queue int32, off int64) []int64 {
	for int(queue) >= len(by) {
		by = append(by, none)
	}
	by[queue] = off
	return by
}

func get(by []int64, queue int32) int64 {
	if int(queue) >= len(by) || queue < 0 {
		return none
	}
	return by[queue]
}

func (t *Table) find(k key) *progress {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[k]
}

func (t *Table) findOrAdd(k key) *progress {
	if p := t.find(k); p != nil {
		return p
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.m[k]
	if p == nil {
		k = key{strings.Clone(k.group), strings.Clone(k.topic)}
		p = &progress{}
		t.m[k] = p
	}
	return p
}

// Get gives a group's progress in a queue; ok is false where it has none.
func (t *Table) Get(group, topic string, queue int32) (off int64, ok bool) {
	p := t.find(key{group, topic})
	if p == nil {
		return 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	off = p.get(queue)
	return max(off, 0), off != none
}

// Look gives a group's progress in a queue as Get does, and whether a reset of
// it waits that nobody was told of.
func (t *Table) Look(group, topic string, queue int32) (off int64, ok, reset bool) {
	p := t.find(key{group, topic})
	if p == nil {
		return 0, false, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	off = p.get(queue)
	if len(p.resets) > 0 {
		_, reset = p.resets[queue]
	}
	return max(off, 0), off != none, reset
}

// Commit sets a group's progress in a queue, backwards too. previous is what
// it was, -1 where there was none. It is dropped, which taken tells, while a
// reset waits for its pull.
func (t *Table) Commit(group, topic string, queue int32, off int64) (previous int64, taken bool) {
	k := key{group, topic}
	p := t.findOrAdd(k)
	p.mu.Lock()
	previous = p.get(queue)
	if _, waits := p.resets[queue]; waits {
		p.mu.Unlock()
		return previous, false
	}
	enlist := false
	if previous != off {
		p.set(queue, off)
		enlist = p.touch()
	}
	p.mu.Unlock()
	if enlist {
		t.enlist(k)
	}
	return previous, true
}

// NotePulled notes where a group's last pull of a queue ended, which is as far
// as its consumers have come without saying so yet. A group without progress
// in the topic is passed over.
func (t *Table) NotePulled(group, topic string, queue int32, next int64) {
	if p := t.find(key{group, topic}); p != nil {
		p.mu.Lock()
		p.pulled = set(p.pulled, queue, next)
		p.mu.Unlock()
	}
}

// Pulled is what NotePulled noted, at least the group's progress.
func (t *Table) Pulled(group, topic string, queue int32) int64 {
	p := t.find(key{group, topic})
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, get(p.offsets, queue), get(p.pulled, queue))
}

// Beyond is progress that stood beyond the end of its queue.
type Beyond struct {
	Group, Topic string
	Queue        int32
	From, To     int64
}

// Clamp takes progress that is beyond the end of its queue, and resets that
// are, back to the end. end gives it, 0 for a queue that has none yet.
func (t *Table) Clamp(end func(topic string, queue int32) (int64, error)) ([]Beyond, error) {
	t.mu.RLock()
	all := maps.Clone(t.m)
	t.mu.RUnlock()
	var out []Beyond
	for k, p := range all {
		p.mu.Lock()
		had, enlist := len(out), false
		for id := range p.offsets {
			queue := int32(id)
			at := p.offsets[id]
			if at <= 0 {
				continue
			}
			most, err := end(k.topic, queue)
			if err != nil {
				p.mu.Unlock()
				return out, err
			}
			if at > most {
				p.set(queue, most)
				out = append(out, Beyond{k.group, k.topic, queue, at, most})
			}
			if to, waits := p.resets[queue]; waits && to > most {
				p.resets[queue] = most
			}
		}
		if len(out) > had {
			enlist = p.touch()
		}
		p.mu.Unlock()
		if enlist {
			t.enlist(k)
		}
	}
	return out, nil
}

// touch marks progress as changed; first says that it has to be enlisted. mu is
// held.
func (p *progress) touch() (first bool) {
	first = !p.dirty
	p.dirty = true
	return first
}

func (t *Table) enlist(k key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirty = append(t.dirty, key{strings.Clone(k.group), strings.Clone(k.topic)})
}

// Reset sets a group's progress in several queues of a topic, and has the next
// pull of each learn of it. It is durable when it returns; where it can't be
// saved nothing has changed.
func (t *Table) Reset(group, topic string, to map[int32]int64) error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	k := key{group, topic}
	rec := t.record(k)
	if rec.Resets == nil {
		rec.Resets = map[int32]int64{}
	}
	for queue, off := range to {
		rec.Offsets[queue], rec.Resets[queue] = off, off
	}
	if err := t.meta.Put(k.id(), rec); err != nil {
		return fmt.Errorf("save reset of group %q in topic %q: %w", group, topic, err)
	}
	p := t.findOrAdd(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resets == nil {
		p.resets = map[int32]int64{}
	}
	for queue, off := range to {
		p.set(queue, off)
		p.resets[queue] = off
		p.pulled = set(p.pulled, queue, off)
	}
	return nil
}

// Put sets a group's progress in several queues of several topics, by topic and
// queue, but not where a reset waits for its pull. It is durable when it
// returns; where it can't be saved nothing has changed.
func (t *Table) Put(group string, to map[string]map[int32]int64) error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	b := t.store.Batch()
	for topic, queues := range to {
		k := key{group, topic}
		rec := t.record(k)
		for queue, off := range queues {
			if _, waits := rec.Resets[queue]; !waits {
				rec.Offsets[queue] = off
			}
		}
		if err := b.Put(t.meta, k.id(), rec); err != nil {
			return errors.Join(fmt.Errorf("save offsets of group %q: %w", group, err), b.Discard())
		}
	}
	if err := b.Commit(true); err != nil {
		return fmt.Errorf("save offsets of group %q: %w", group, err)
	}
	for topic, queues := range to {
		for queue, off := range queues {
			t.Commit(group, topic, queue, off)
		}
	}
	return nil
}

// record is what would be saved of a progress now, empty where there is none.
func (t *Table) record(k key) saved {
	p := t.find(k)
	if p == nil {
		return saved{Offsets: map[int32]int64{}}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saved()
}

// Waiting reports whether any reset waits for its pull in the queue.
func (t *Table) Waiting(group, topic string, queue int32) bool {
	p := t.find(key{group, topic})
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, waits := p.resets[queue]
	return waits
}

// TakeReset gives a waiting reset to the pull that learns of it, once.
func (t *Table) TakeReset(group, topic string, queue int32) (off int64, ok bool) {
	k := key{group, topic}
	p := t.find(k)
	if p == nil {
		return 0, false
	}
	p.mu.Lock()
	off, ok = p.resets[queue]
	enlist := false
	if ok {
		delete(p.resets, queue)
		enlist = p.touch()
	}
	p.mu.Unlock()
	if enlist {
		t.enlist(k)
	}
	return off, ok
}

// Offsets gives a group's progress in all queues of a topic that it has
// committed.
func (t *Table) Offsets(group, topic string) map[int32]int64 {
	p := t.find(key{group, topic})
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saved().Offsets
}

func (p *progress) saved() saved {
	rec := saved{Offsets: make(map[int32]int64, len(p.offsets))}
	for queue, off := range p.offsets {
		if off != none {
			rec.Offsets[int32(queue)] = off
		}
	}
	if len(p.resets) > 0 {
		rec.Resets = make(map[int32]int64, len(p.resets))
		for queue, off := range p.resets {
			rec.Resets[queue] = off
		}
	}
	return rec
}

// Groups gives the groups with progress in a topic, sorted.
func (t *Table) Groups(topic string) []string {
	return t.names(func(k key) (string, bool) { return k.group, k.topic == topic })
}

// Topics gives the topics that a group has progress in, sorted.
func (t *Table) Topics(group string) []string {
	return t.names(func(k key) (string, bool) { return k.topic, k.group == group })
}

func (t *Table) names(pick func(key) (string, bool)) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []string
	for k := range t.m {
		if name, ok := pick(k); ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// DeleteGroup forgets a group's progress everywhere, durably; where that can't
// be saved nothing has changed.
func (t *Table) DeleteGroup(group string) error {
	return t.deleteIf(func(k key) bool { return k.group == group })
}

// DeleteTopic forgets every group's progress in a topic, durably; where that
// can't be saved nothing has changed.
func (t *Table) DeleteTopic(topic string) error {
	return t.deleteIf(func(k key) bool { return k.topic == topic })
}

// deleteIf forgets what was there when it began. Where that can't be saved
// nothing has changed.
func (t *Table) deleteIf(gone func(key) bool) error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	b := t.store.Batch()
	list := map[key]*progress{}
	t.mu.RLock()
	for k, p := range t.m {
		if gone(k) {
			list[k] = p
			b.Delete(t.meta, k.id())
		}
	}
	t.mu.RUnlock()
	if b.Empty() {
		return b.Discard()
	}
	if err := b.Commit(true); err != nil {
		return fmt.Errorf("delete offsets: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, p := range list {
		p.mu.Lock()
		p.dead = true
		p.mu.Unlock()
		delete(t.m, k)
	}
	return nil
}

// Flush saves every progress that changed since the last one, durably.
func (t *Table) Flush() error {
	t.flushing.Lock()
	defer t.flushing.Unlock()
	t.mu.Lock()
	keys := t.dirty
	t.dirty = nil
	t.mu.Unlock()
	if len(keys) == 0 {
		return nil
	}
	b := t.store.Batch()
	for _, k := range keys {
		rec, ok := t.take(k)
		if !ok {
			continue
		}
		if err := b.Put(t.meta, k.id(), rec); err != nil {
			t.putBack(keys)
			return fmt.Errorf("save offsets: %w", err)
		}
	}
	if err := b.Commit(true); err != nil {
		t.putBack(keys)
		return fmt.Errorf("save offsets: %w", err)
	}
	return nil
}

func (t *Table) take(k key) (saved, bool) {
	p := t.find(k)
	if p == nil {
		return saved{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty = false
	return p.saved(), !p.dead
}

// putBack marks progress as changed again after a failed flush.
func (t *Table) putBack(keys []key) {
	for _, k := range keys {
		p := t.find(k)
		if p == nil {
			continue
		}
		p.mu.Lock()
		enlist := p.touch()
		p.mu.Unlock()
		if enlist {
			t.enlist(k)
		}
	}
}
