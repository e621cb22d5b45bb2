package topic

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"varve/internal/meta"
)

// tableName is the meta table that holds one Config a topic, by name.
const tableName = "topic"

// Table is the set of topics.
type Table struct {
	meta    meta.Table
	byName  atomic.Pointer[map[string]*Config] // replaced by each change, never changed
	version atomic.Int64

	mu       sync.Mutex // serializes changes
	onChange []func()
	unsaved  map[string]struct{} // topics that a full disk didn't take
}

// maxUnsaved bounds the topics that wait for room on the disk.
const maxUnsaved = 10_000

// Load reads the topics of a meta store.
func Load(s *meta.Store) (*Table, error) {
	t := &Table{meta: s.Table(tableName), unsaved: map[string]struct{}{}}
	all := map[string]*Config{}
	err := t.meta.Scan("", func(name string, raw []byte) error {
		var c Config
		if err := json.Unmarshal(raw, &c); err != nil {
			return fmt.Errorf("topic %q in the meta store: %w", name, err)
		}
		all[name] = c.clone()
		return nil
	})
	t.byName.Store(&all)
	return t, err
}

// Get finds a topic. The Config must not be changed.
func (t *Table) Get(name string) (*Config, bool) {
	c, ok := (*t.byName.Load())[name]
	return c, ok
}

// Len is the number of topics.
func (t *Table) Len() int { return len(*t.byName.Load()) }

// Put creates or replaces a topic. changed is false where it was so already.
func (t *Table) Put(c Config) (changed bool, err error) {
	if err := c.Check(); err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put(&c)
}

// PutIfAbsent creates a topic, or gives the one that is there.
func (t *Table) PutIfAbsent(c Config) (*Config, error) { return t.putIfAbsent(c, false) }

// KeepIfAbsent is PutIfAbsent for a topic that can be made anew: on a full disk
// it is in memory until a Flush.
func (t *Table) KeepIfAbsent(c Config) (*Config, error) { return t.putIfAbsent(c, true) }

func (t *Table) putIfAbsent(c Config, keep bool) (*Config, error) {
	if have, ok := t.Get(c.Name); ok {
		return have, nil
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if have, ok := t.Get(c.Name); ok {
		return have, nil
	}
	_, err := t.put(&c)
	if keep && errors.Is(err, meta.ErrDiskFull) && len(t.unsaved) < maxUnsaved {
		next := c.clone()
		t.unsaved[next.Name] = struct{}{}
		t.show(next)
		err = nil
	}
	if err != nil {
		return nil, err
	}
	have, _ := t.Get(c.Name)
	return have, nil
}

func (t *Table) put(c *Config) (changed bool, err error) {
	next := c.clone()
	_, unsaved := t.unsaved[c.Name]
	have, ok := t.Get(c.Name)
	same := ok && have.equal(next)
	if same && !unsaved {
		return false, nil
	}
	if err := t.meta.Put(c.Name, next); err != nil {
		return false, fmt.Errorf("save topic %q: %w", c.Name, err)
	}
	delete(t.unsaved, c.Name)
	if !same {
		t.show(next)
	}
	return !same, nil
}

// show lets readers see a topic. t.mu must be held.
func (t *Table) show(c *Config) {
	all := maps.Clone(*t.byName.Load())
	all[c.Name] = c
	t.byName.Store(&all)
	t.changed()
}

// Flush saves the topics that a full disk didn't take. It stops at the first
// error; what is not saved is tried by the next one.
func (t *Table) Flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.unsaved {
		c, _ := t.Get(name)
		if _, err := t.put(c); err != nil {
			return err
		}
	}
	return nil
}

// Delete removes a topic; had is false where there was none.
func (t *Table) Delete(name string) (had bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.Get(name); !ok {
		return false, nil
	}
	if _, ok := t.unsaved[name]; ok {
		delete(t.unsaved, name)
	} else if err := t.meta.Delete(name); err != nil {
		return false, fmt.Errorf("delete topic %q: %w", name, err)
	}
	all := maps.Clone(*t.byName.Load())
	delete(all, name)
	t.byName.Store(&all)
	t.changed()
	return true, nil
}

// All gives every topic in name order. The Configs must not be changed.
func (t *Table) All() []*Config {
	out := slices.Collect(maps.Values(*t.byName.Load()))
	slices.SortFunc(out, func(a, b *Config) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Version grows with every change since the start.
func (t *Table) Version() int64 { return t.version.Load() }

// OnChange calls fn after every change. fn must return quickly and must not
// change the table.
func (t *Table) OnChange(fn func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onChange = append(t.onChange, fn)
}

func (t *Table) changed() {
	t.version.Add(1)
	for _, fn := range t.onChange {
		fn()
	}
}
