package meta

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// maxUnsaved bounds the settings of one table that wait for room on the disk.
const maxUnsaved = 10_000

// SettingsOf tells Settings about its values. All but Changed must be there.
type SettingsOf[V any] struct {
	What  string              // what one value is about, such as "topic": the table's name, and in errors
	Name  func(*V) string     // the key of a value
	New   func(name string) V // what a stored value is decoded over: what it doesn't say keeps its default
	Check func(*V) error      // why a value can't be taken, nil if it can
	Clone func(*V) *V         // a copy that shares nothing that may change, strings included
	Equal func(a, b *V) bool  // is a the same as b?

	// Changed is called after every change. It must return quickly and must
	// not change the settings.
	Changed func()
}

// Settings is a table of named values that are read all the time and changed
// now and then: all of it is in memory too. Readers take no lock. A value is on
// disk before anybody can see it, but for those of KeepIfAbsent on a full disk.
type Settings[V any] struct {
	of     SettingsOf[V]
	meta   Table
	byName atomic.Pointer[map[string]*V] // replaced by each change, never changed

	mu      sync.Mutex          // serializes changes
	unsaved map[string]struct{} // what a full disk didn't take
}

// LoadSettings reads a table of settings.
func LoadSettings[V any](s *Store, of SettingsOf[V]) (*Settings[V], error) {
	t := &Settings[V]{of: of, meta: s.Table(of.What), unsaved: map[string]struct{}{}}
	all := map[string]*V{}
	err := t.meta.Scan("", func(name string, raw []byte) error {
		v := of.New(name)
		if err := json.Unmarshal(raw, &v); err != nil {
			return fmt.Errorf("%s %q in the meta store: %w", of.What, name, err)
		}
		all[name] = of.Clone(&v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	t.byName.Store(&all)
	return t, nil
}

// Get finds a value, which must not be changed.
func (t *Settings[V]) Get(name string) (*V, bool) {
	v, ok := (*t.byName.Load())[name]
	return v, ok
}

// Len is the number of values.
func (t *Settings[V]) Len() int { return len(*t.byName.Load()) }

// All gives every value in the order of names. They must not be changed.
func (t *Settings[V]) All() []*V {
	out := slices.Collect(maps.Values(*t.byName.Load()))
	slices.SortFunc(out, func(a, b *V) int { return strings.Compare(t.of.Name(a), t.of.Name(b)) })
	return out
}

// Put creates or replaces a value. changed is false where it was so already.
func (t *Settings[V]) Put(v V) (changed bool, err error) {
	if err := t.of.Check(&v); err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put(&v)
}

// PutIfAbsent creates a value, or gives the one that is there.
func (t *Settings[V]) PutIfAbsent(v V) (*V, error) { return t.putIfAbsent(v, false) }

// KeepIfAbsent is PutIfAbsent for a value that can be made anew: on a full disk
// it is in memory until a Flush.
func (t *Settings[V]) KeepIfAbsent(v V) (*V, error) { return t.putIfAbsent(v, true) }

func (t *Settings[V]) putIfAbsent(v V, keep bool) (*V, error) {
	name := t.of.Name(&v)
	if have, ok := t.Get(name); ok {
		return have, nil
	}
	if err := t.of.Check(&v); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if have, ok := t.Get(name); ok {
		return have, nil
	}
	_, err := t.put(&v)
	if keep && errors.Is(err, ErrDiskFull) && len(t.unsaved) < maxUnsaved {
		next := t.of.Clone(&v)
		t.unsaved[t.of.Name(next)] = struct{}{}
		t.show(next)
		err = nil
	}
	if err != nil {
		return nil, err
	}
	have, _ := t.Get(name)
	return have, nil
}

// put saves a value and shows it. t.mu must be held.
func (t *Settings[V]) put(v *V) (changed bool, err error) {
	next := t.of.Clone(v)
	name := t.of.Name(next)
	_, unsaved := t.unsaved[name]
	have, ok := t.Get(name)
	same := ok && t.of.Equal(have, next)
	if same && !unsaved {
		return false, nil
	}
	if err := t.meta.Put(name, next); err != nil {
		return false, fmt.Errorf("save %s %q: %w", t.of.What, name, err)
	}
	delete(t.unsaved, name)
	if !same {
		t.show(next)
	}
	return !same, nil
}

// show lets readers see a value, which the table owns from here on. t.mu must
// be held.
func (t *Settings[V]) show(v *V) {
	all := maps.Clone(*t.byName.Load())
	all[t.of.Name(v)] = v
	t.replace(all)
}

func (t *Settings[V]) replace(all map[string]*V) {
	t.byName.Store(&all)
	if t.of.Changed != nil {
		t.of.Changed()
	}
}

// Flush saves what a full disk didn't take. It stops at the first error; what
// is not saved is tried by the next one.
func (t *Settings[V]) Flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.unsaved {
		v, _ := t.Get(name)
		if _, err := t.put(v); err != nil {
			return err
		}
	}
	return nil
}

// Delete removes a value; had is false where there was none.
func (t *Settings[V]) Delete(name string) (had bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.Get(name); !ok {
		return false, nil
	}
	if _, ok := t.unsaved[name]; ok {
		delete(t.unsaved, name)
	} else if err := t.meta.Delete(name); err != nil {
		return false, fmt.Errorf("delete %s %q: %w", t.of.What, name, err)
	}
	all := maps.Clone(*t.byName.Load())
	delete(all, name)
	t.replace(all)
	return true, nil
}
