package wire

import (
	"strconv"
	"time"
)

// Codes that Call is used with.
const (
	CodeHeartbeat    = 34
	CodeRoute        = 105
	CodeCreateTopics = 18
	CodeCreateGroup  = 200
)

// Answer is what a Call was answered; its parts are valid until the next.
type Answer struct {
	Code   int
	Header []byte
	Body   []byte
}

// Call sends one request, its fields as name, value, name, value, and waits
// for its answer; what else comes is dropped.
func (c *Conn) Call(code int, body []byte, fields ...string) (Answer, error) {
	c.n++
	return c.CallAs(code, c.n, body, fields...)
}

// CallAs is Call under a number of the caller's.
func (c *Conn) CallAs(code int, opaque int32, body []byte, fields ...string) (Answer, error) {
	if err := c.request(code, opaque, body, fields); err != nil {
		return Answer{}, err
	}
	return c.Await(opaque)
}

// Await waits for the answer to the request of a number; what else comes is
// dropped.
func (c *Conn) Await(opaque int32) (Answer, error) {
	for {
		a, err := c.read()
		if err != nil {
			return Answer{}, err
		}
		if a.opaque == opaque && bytesFlag(a.header) {
			return Answer{a.code, a.header, a.body}, nil
		}
	}
}

func (c *Conn) request(code int, opaque int32, body []byte, fields []string) error {
	at := c.begin(code)
	for i := 0; i+1 < len(fields); i += 2 {
		c.field(fields[i], fields[i+1])
	}
	c.endHeader(at, opaque)
	c.out = append(c.out, body...)
	c.endFrame(at)
	return c.flush()
}

// Pull is an open pull of one queue.
type Pull struct {
	Group, Topic string
	Queue        int
	Offset       int64
	Suspend      time.Duration // how long the broker may hold it
}

// Open sends a pull and doesn't wait for its answer.
func (c *Conn) Open(p Pull, opaque int32) error {
	const mayHold = 2 // sysFlag
	return c.request(codePull, opaque, nil, []string{
		"consumerGroup", p.Group, "topic", p.Topic, "queueId", strconv.Itoa(p.Queue), "queueOffset", strconv.FormatInt(p.Offset, 10),
		"maxMsgNums", "32", "sysFlag", strconv.Itoa(mayHold | pullSubscribed), "commitOffset", "0",
		"suspendTimeoutMillis", strconv.FormatInt(p.Suspend.Milliseconds(), 10),
		"subscription", "*", "subVersion", "0", "expressionType", "TAG",
	})
}
