package topic

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"varve/internal/mq"
)

// Permission bits of a topic.
const (
	PermInherit = 1 << 0 // settings are inherited by topics that a send creates
	PermWrite   = 1 << 1
	PermRead    = 1 << 2
)

// Filter types of a topic.
const (
	SingleTag = "SINGLE_TAG"
	MultiTag  = "MULTI_TAG"
)

// Limits of a topic.
const (
	MaxNameLen  = 127
	MaxQueues   = 16384
	sysFlagUnit = 1 << 0
	// sysFlagUnitSub marks the retry topic of a group that consumes in unit
	// mode.
	sysFlagUnitSub = 1 << 1
)

// SysFlag gives the unit bits of a topic.
func SysFlag(unit, unitSub bool) int32 {
	var f int32
	if unit {
		f |= sysFlagUnit
	}
	if unitSub {
		f |= sysFlagUnitSub
	}
	return f
}

// Config is one topic. The JSON names are RocketMQ's, so that a front can
// answer with it.
type Config struct {
	Name        string            `json:"topicName"`
	ReadQueues  int32             `json:"readQueueNums"`
	WriteQueues int32             `json:"writeQueueNums"`
	Perm        int32             `json:"perm"`
	FilterType  string            `json:"topicFilterType"`
	SysFlag     int32             `json:"topicSysFlag"`
	Order       bool              `json:"order"`
	Attributes  map[string]string `json:"attributes"`
}

// Readable reports whether consumers may read the topic.
func (c *Config) Readable() bool { return c.Perm&PermRead != 0 }

// Writable reports whether producers may write the topic.
func (c *Config) Writable() bool { return c.Perm&PermWrite != 0 }

// Queues is the number of queues that exist: those written or still read.
func (c *Config) Queues() int32 { return max(c.ReadQueues, c.WriteQueues) }

// clone gives a copy that shares nothing with c.
func (c *Config) clone() *Config {
	d := *c
	d.Name = strings.Clone(c.Name)
	d.Attributes = maps.Clone(c.Attributes)
	if d.Attributes == nil {
		d.Attributes = map[string]string{}
	}
	if d.FilterType == "" {
		d.FilterType = SingleTag
	}
	return &d
}

func (c *Config) equal(d *Config) bool {
	return c.Name == d.Name && c.ReadQueues == d.ReadQueues && c.WriteQueues == d.WriteQueues &&
		c.Perm == d.Perm && c.FilterType == d.FilterType && c.SysFlag == d.SysFlag &&
		c.Order == d.Order && maps.Equal(c.Attributes, d.Attributes)
}

// Check reports why c cannot be a topic, nil if it can.
func (c *Config) Check() error {
	if err := CheckName(c.Name); err != nil {
		return err
	}
	switch {
	case c.ReadQueues < 0 || c.ReadQueues > MaxQueues:
		return fmt.Errorf("topic %q: %d read queues, want 0 to %d", c.Name, c.ReadQueues, MaxQueues)
	case c.WriteQueues < 0 || c.WriteQueues > MaxQueues:
		return fmt.Errorf("topic %q: %d write queues, want 0 to %d", c.Name, c.WriteQueues, MaxQueues)
	case c.Perm < 0 || c.Perm > PermRead|PermWrite|PermInherit:
		return fmt.Errorf("topic %q: permission %d, want 0 to 7", c.Name, c.Perm)
	}
	return nil
}

// CheckName reports why a name cannot be a topic's, nil if it can.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("topic name is empty")
	case len(name) > MaxNameLen:
		return fmt.Errorf("topic name of %d bytes is over the limit of %d", len(name), MaxNameLen)
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return fmt.Errorf("topic name %q has a character outside [%%|a-zA-Z0-9_-]", name)
		}
	}
	return nil
}

func nameByte(b byte) bool {
	switch {
	case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		return true
	}
	return b == '%' || b == '|' || b == '_' || b == '-'
}

// Sendable reports whether clients may send to a topic of this name.
func Sendable(name string) bool {
	switch name {
	case mq.ScheduleTopic, mq.TimerTopic, mq.HalfTopic, mq.OpHalfTopic,
		"TRANS_CHECK_MAX_TIME_TOPIC", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT":
		return false
	}
	return !strings.HasPrefix(name, ownPrefix)
}

// ownPrefix begins the names of topics that are a broker's own.
const ownPrefix = "rmq_sys_"
