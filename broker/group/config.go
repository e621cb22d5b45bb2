package group

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"varve/internal/meta"
)

// MaxNameLen bounds a group's name.
const MaxNameLen = 120

// Config is the settings of one consumer group. The JSON names are RocketMQ's.
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
	// Forbidden is the topics that the group may not read, sorted.
	Forbidden []string `json:"forbiddenTopics,omitempty"`
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
		RetryPolicy:           RetryPolicy{Type: Customized},
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
	d.Name = strings.Clone(c.Name)
	d.Attributes = maps.Clone(c.Attributes)
	if d.Attributes == nil {
		d.Attributes = map[string]string{}
	}
	d.Forbidden = slices.Clone(c.Forbidden)
	if p := c.RetryPolicy.Exponential; p != nil {
		own := *p
		d.RetryPolicy.Exponential = &own
	}
	if p := c.RetryPolicy.Customized; p != nil {
		d.RetryPolicy.Customized = &CustomizedPolicy{NextMillis: slices.Clone(p.NextMillis)}
	}
	return &d
}

// Forbids reports whether the group may not read a topic.
func (c *Config) Forbids(topic string) bool {
	return len(c.Forbidden) > 0 && slices.Contains(c.Forbidden, topic)
}

// Forbidding gives c with the right to read a topic taken or given back.
func (c *Config) Forbidding(topic string, forbidden bool) Config {
	d := *c.clone()
	i, has := slices.BinarySearch(d.Forbidden, topic)
	switch {
	case forbidden && !has:
		d.Forbidden = slices.Insert(d.Forbidden, i, strings.Clone(topic))
	case !forbidden && has:
		d.Forbidden = slices.Delete(d.Forbidden, i, i+1)
	}
	return d
}

// Check reports why c cannot be a group, nil if it can.
func (c *Config) Check() error {
	if err := CheckName(c.Name); err != nil {
		return err
	}
	if err := c.RetryPolicy.check(); err != nil {
		return fmt.Errorf("group %q: %w", c.Name, err)
	}
	if c.RetryQueues < 0 || c.RetryMaxTimes < -1 {
		return fmt.Errorf("group %q: %d retry queues and %d retries, want 0 or more", c.Name, c.RetryQueues, c.RetryMaxTimes)
	}
	return nil
}

// Configs is the set of group settings. A Config in it is never changed: a
// change replaces it.
type Configs struct{ *meta.Settings[Config] }

// Load reads the groups of a meta store.
func Load(s *meta.Store) (*Configs, error) {
	all, err := meta.LoadSettings(s, meta.SettingsOf[Config]{
		What:  "group",
		Name:  func(c *Config) string { return c.Name },
		New:   Default,
		Check: (*Config).Check,
		Clone: (*Config).clone,
		Equal: func(a, b *Config) bool { return reflect.DeepEqual(a, b) },
	})
	return &Configs{all}, err
}

// GetOrDefault finds a group, or creates it with default settings. On a full
// disk it is in memory until a Flush: a new group can read what is there.
func (c *Configs) GetOrDefault(name string) (*Config, error) {
	if have, ok := c.Get(name); ok {
		return have, nil
	}
	return c.KeepIfAbsent(Default(name))
}
