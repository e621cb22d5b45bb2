package group

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

// MaxNameLen bounds a group's name.
const MaxNameLen = 120

// tableName is the meta table that holds one Config a group, by name.
const tableName = "group"

// RetryPolicy says after which delays a message is delivered again. The JSON
// is RocketMQ's.
type RetryPolicy struct {
	Type        string             `json:"type"` // EXPONENTIAL or CUSTOMIZED
	Exponential *ExponentialPolicy `json:"exponentialRetryPolicy,omitempty"`
	Customized  *CustomizedPolicy  `json:"customizedRetryPolicy,omitempty"`
}

// ExponentialPolicy multiplies the delay with each attempt.
type ExponentialPolicy struct {
	InitialMillis int64 `json:"initial"`
	MaxMillis     int64 `json:"max"`
	Multiplier    int64 `json:"multiplier"`
}

// CustomizedPolicy lists the delay of each attempt; the last one repeats.
type CustomizedPolicy struct {
	NextMillis []int64 `json:"next"`
}

// Config is the settings of one consumer group. The JSON names are RocketMQ's.
// A Config in Configs is never changed: a change replaces it.
type Config struct {
	Name                  string            `json:"groupName"`
	ConsumeEnabled        bool              `json:"consumeEnable"`
	ConsumeFromMin        bool              `json:"consumeFromMinEnable"`
	Broadcast             bool              `json:"consumeBroadcastEnable"`
	Orderly               bool              `json:"consumeMessageOrderly"`
	RetryQueues           int32             `json:"retryQueueNums"`
	RetryMaxTimes         int32             `json:"retryMaxTimes"`
	RetryPolicy           RetryPolicy       `json:"groupRetryPolicy"`
	BrokerID              int64             `json:"brokerId"`
	SlowBrokerID          int64             `json:"whichBrokerWhenConsumeSlowly"`
	NotifyMembers         bool              `json:"notifyConsumerIdsChangedEnable"`
	SysFlag               int32             `json:"groupSysFlag"`
	ConsumeTimeoutMinutes int32             `json:"consumeTimeoutMinute"`
	Attributes            map[string]string `json:"attributes"`
}

// Default is the settings that a group gets when it is first heard of.
func Default(name string) Config {
	return Config{
		Name:                  name,
		ConsumeEnabled:        true,
		ConsumeFromMin:        true,
		Broadcast:             true,
		RetryQueues:           1,
		RetryMaxTimes:         16,
		RetryPolicy:           RetryPolicy{Type: "CUSTOMIZED"},
		SlowBrokerID:          1,
		NotifyMembers:         true,
		ConsumeTimeoutMinutes: 15,
		Attributes:            map[string]string{},
	}
}

// CheckName reports why a name cannot be a group's, nil if it can.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("group name is empty")
	case len(name) > MaxNameLen:
		return fmt.Errorf("group name of %d bytes is over the limit of %d", len(name), MaxNameLen)
	}
	for i := range len(name) {
		b := name[i]
		ok := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' ||
			b == '%' || b == '|' || b == '_' || b == '-'
		if !ok {
			return fmt.Errorf("group name %q has a character outside [%%|a-zA-Z0-9_-]", name)
		}
	}
	return nil
}

func (c *Config) clone() *Config {
	d := *c
	d.Attributes = maps.Clone(c.Attributes)
	if d.Attributes == nil {
		d.Attributes = map[string]string{}
	}
	return &d
}

// Configs is the set of group settings.
type Configs struct {
	meta   meta.Table
	byName atomic.Pointer[map[string]*Config] // replaced by each change, never changed
	mu     sync.Mutex
	// unsaved are the groups that a full disk didn't take.
	unsaved map[string]struct{}
}

// maxUnsaved bounds the groups that wait for room on the disk.
const maxUnsaved = 10_000

// Load reads the groups of a meta store.
func Load(s *meta.Store) (*Configs, error) {
	c := &Configs{meta: s.Table(tableName), unsaved: map[string]struct{}{}}
	all := map[string]*Config{}
	err := c.meta.Scan("", func(name string, raw []byte) error {
		g := Default(name)
		if err := json.Unmarshal(raw, &g); err != nil {
			return fmt.Errorf("group %q in the meta store: %w", name, err)
		}
		all[name] = g.clone()
		return nil
	})
	c.byName.Store(&all)
	return c, err
}

// Get finds a group. The Config must not be changed.
func (c *Configs) Get(name string) (*Config, bool) {
	g, ok := (*c.byName.Load())[name]
	return g, ok
}

// Len is the number of groups.
func (c *Configs) Len() int { return len(*c.byName.Load()) }

// Check reports why g cannot be a group, nil if it can.
func (c *Config) Check() error {
	if err := CheckName(c.Name); err != nil {
		return err
	}
	if c.RetryQueues < 0 || c.RetryMaxTimes < -1 {
		return fmt.Errorf("group %q: %d retry queues and %d retries, want 0 or more", c.Name, c.RetryQueues, c.RetryMaxTimes)
	}
	return nil
}

// Put creates or replaces a group.
func (c *Configs) Put(g Config) error {
	if err := g.Check(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(&g)
}

func (c *Configs) put(g *Config) error {
	if err := c.meta.Put(g.Name, g); err != nil {
		return fmt.Errorf("save group %q: %w", g.Name, err)
	}
	delete(c.unsaved, g.Name)
	c.show(g)
	return nil
}

// show lets readers see a group. c.mu must be held.
func (c *Configs) show(g *Config) {
	all := maps.Clone(*c.byName.Load())
	all[strings.Clone(g.Name)] = g.clone()
	c.byName.Store(&all)
}

// Flush saves the groups that a full disk didn't take. It stops at the first
// error; what is not saved is tried by the next one.
func (c *Configs) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.unsaved {
		g, _ := c.Get(name)
		if err := c.put(g); err != nil {
			return err
		}
	}
	return nil
}

// PutIfAbsent creates a group with default settings, or gives the one that is
// there. On a full disk the group is in memory until a Flush: a new group can
// read what is there.
func (c *Configs) PutIfAbsent(name string) (*Config, error) {
	if have, ok := c.Get(name); ok {
		return have, nil
	}
	if err := CheckName(name); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.Get(name); ok {
		return have, nil
	}
	g := Default(name)
	err := c.put(&g)
	if errors.Is(err, meta.ErrDiskFull) && len(c.unsaved) < maxUnsaved {
		c.unsaved[strings.Clone(name)] = struct{}{}
		c.show(&g)
		err = nil
	}
	if err != nil {
		return nil, err
	}
	have, _ := c.Get(name)
	return have, nil
}

// Delete removes a group; had is false where there was none.
func (c *Configs) Delete(name string) (had bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.Get(name); !ok {
		return false, nil
	}
	if _, ok := c.unsaved[name]; ok {
		delete(c.unsaved, name)
	} else if err := c.meta.Delete(name); err != nil {
		return false, fmt.Errorf("delete group %q: %w", name, err)
	}
	all := maps.Clone(*c.byName.Load())
	delete(all, name)
	c.byName.Store(&all)
	return true, nil
}

// All gives every group in name order. The Configs must not be changed.
func (c *Configs) All() []*Config {
	out := slices.Collect(maps.Values(*c.byName.Load()))
	slices.SortFunc(out, func(a, b *Config) int { return strings.Compare(a.Name, b.Name) })
	return out
}
