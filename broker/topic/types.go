package topic

import (
	"fmt"
	"slices"
	"strings"
)

// AttrMessageType is the attribute of a topic that says which messages it
// takes.
const AttrMessageType = "message.type"

// Types of a message, as AttrMessageType names them.
const (
	TypeNormal      = "NORMAL"
	TypeFIFO        = "FIFO"
	TypeDelay       = "DELAY"
	TypeTransaction = "TRANSACTION"
)

// Values of AttrMessageType for a topic that takes messages of every type.
// UNSPECIFIED is the same as no attribute.
const (
	typeMixed       = "MIXED"
	typeUnspecified = "UNSPECIFIED"
)

var knownTypes = []string{TypeNormal, TypeFIFO, TypeDelay, TypeTransaction, typeMixed, typeUnspecified}

// MessageType is the one type of messages that the topic takes, empty where it
// takes every type.
func (c *Config) MessageType() string {
	if len(c.Attributes) == 0 {
		return ""
	}
	switch t := c.Attributes[AttrMessageType]; t {
	case TypeNormal, TypeFIFO, TypeDelay, TypeTransaction:
		return t
	}
	return ""
}

// CheckMessageType reports why the topic's attribute can't be, nil if it can.
func (c *Config) CheckMessageType() error {
	t, has := c.Attributes[AttrMessageType]
	if !has || slices.Contains(knownTypes, t) {
		return nil
	}
	return fmt.Errorf("topic %q: %s is %q, want one of %s", c.Name, AttrMessageType, t, strings.Join(knownTypes, ", "))
}
