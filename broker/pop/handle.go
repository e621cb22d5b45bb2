package pop

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// OrderedRevive is the revive queue id of a message that was given out in
// order.
const OrderedRevive = 999

// Kinds of topic that a handle's message lies in: Handle.Retry.
const (
	RetryNone = 0 // the topic itself
	RetryV1   = 1 // %RETRY%group_topic
	RetryV2   = 2 // %RETRY%group+topic, which this broker never makes
)

// Handle names one delivery of one message. It is worthless after the next
// delivery and after a change of its invisible time, which makes a new one.
type Handle struct {
	// Topic is where the message lies: the topic that was asked for, or the
	// group's pop retry topic of it.
	Topic           string
	QueueID         int32
	Offset          int64
	PopMillis       int64
	InvisibleMillis int64
	Retry           int   // kind of Topic
	Revive          int32 // OrderedRevive where it was given out in order
	// PhysicalOffset is -1 where the text that the handle was parsed from
	// didn't say.
	PhysicalOffset int64
	Broker         string
}

// Ordered reports whether the message was given out in order.
func (h *Handle) Ordered() bool { return h.Revive == OrderedRevive }

// Append adds RocketMQ's extraInfo: eight words parted by spaces.
func (h *Handle) Append(b []byte) []byte {
	b = strconv.AppendInt(b, h.Offset, 10)
	b = strconv.AppendInt(append(b, ' '), h.PopMillis, 10)
	b = strconv.AppendInt(append(b, ' '), h.InvisibleMillis, 10)
	b = strconv.AppendInt(append(b, ' '), int64(h.Revive), 10)
	b = strconv.AppendInt(append(b, ' '), int64(h.Retry), 10)
	b = append(append(b, ' '), h.Broker...)
	b = strconv.AppendInt(append(b, ' '), int64(h.QueueID), 10)
	return strconv.AppendInt(append(b, ' '), h.Offset, 10)
}

// ExtraInfo is the form of remoting clients (POP_CK).
func (h *Handle) ExtraInfo() string { return string(h.Append(nil)) }

// String is the form of gRPC receipts: extraInfo and the physical offset.
func (h *Handle) String() string {
	b := h.Append(make([]byte, 0, 96))
	return string(strconv.AppendInt(append(b, ' '), h.PhysicalOffset, 10))
}

// errHandle is wrapped by what ParseHandle refuses.
var errHandle = errors.New("bad receipt handle")

// ParseHandle reads either form for a group's message of a topic: the one that
// was asked for, or already its retry topic. The handle's strings alias the
// arguments.
func ParseHandle(group, topic, text string) (Handle, error) {
	h := Handle{Topic: topic, PhysicalOffset: -1}
	rest := text
	for i := 0; i < 9; i++ {
		word, after, more := strings.Cut(rest, " ")
		if err := h.set(i, word); err != nil {
			return Handle{}, fmt.Errorf("%w: %q: word %d: %w", errHandle, text, i+1, err)
		}
		rest = after
		if more {
			continue
		}
		if i < 7 {
			return Handle{}, fmt.Errorf("%w: %q has %d words, want 8 or 9", errHandle, text, i+1)
		}
		if h.Retry != RetryNone {
			h.Topic = RetryTopicOf(group, topic)
		}
		return h, nil
	}
	return Handle{}, fmt.Errorf("%w: %q has more than 9 words", errHandle, text)
}

func (h *Handle) set(i int, word string) (err error) {
	switch i {
	case 0: // where the delivery's messages began; each message has its own here
		_, err = number(word, 64)
	case 1:
		h.PopMillis, err = number(word, 64)
	case 2:
		h.InvisibleMillis, err = number(word, 64)
	case 3:
		h.Revive, err = number32(word)
	case 4:
		var n int64
		if n, err = number(word, 32); n > RetryV2 {
			err = fmt.Errorf("kind of topic %d, want 0, 1 or 2", n)
		}
		h.Retry = int(n)
	case 5:
		if h.Broker = word; word == "" {
			err = errors.New("no broker")
		}
	case 6:
		h.QueueID, err = number32(word)
	case 7:
		h.Offset, err = number(word, 64)
	case 8:
		h.PhysicalOffset, err = strconv.ParseInt(word, 10, 64)
	}
	return err
}

func number32(word string) (int32, error) {
	n, err := number(word, 32)
	return int32(n), err
}

func number(word string, bits int) (int64, error) {
	n, err := strconv.ParseInt(word, 10, bits)
	if err == nil && n < 0 {
		err = fmt.Errorf("%d is negative", n)
	}
	return n, err
}
