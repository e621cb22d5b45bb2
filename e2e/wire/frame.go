package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// Codes of requests and answers.
const (
	codePull       = 11
	codeMaxOffset  = 30
	codeMinOffset  = 31
	codeRoute      = 105
	codeSendV2     = 310
	codeSendBatch  = 320
	codeOK         = 0
	codePullNone   = 19
	codePullRetry  = 20
	frameLimit     = 32 << 20
	connBuffer     = 256 << 10
	connLimit      = 10 * time.Minute // no connection is needed longer; a broker that answers nothing is found out
	headerOverhead = 8
)

// Conn is one connection; one goroutine uses it.
type Conn struct {
	c   net.Conn
	in  *inbox
	out []byte
	n   int32
	end time.Time // of everything on it
}

// Dial connects.
func Dial(addr string) (*Conn, error) {
	return DialSmall(addr, connBuffer)
}

// DialSmall connects with little memory, for connections that are many.
func DialSmall(addr string, buffer int) (*Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	in, err := newInbox(c, buffer)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to %s: %w", addr, err), c.Close())
	}
	conn := &Conn{c: c, in: in, end: time.Now().Add(connLimit)}
	if err := c.SetDeadline(conn.end); err != nil {
		return nil, errors.Join(fmt.Errorf("setting a deadline: %w", err), c.Close())
	}
	return conn, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.c.Close() }

// answer is one response frame; its parts are valid until the next read.
type answer struct {
	code   int
	opaque int32
	header []byte
	body   []byte
}

// begin starts a frame in the out-buffer and returns where it starts.
func (c *Conn) begin(code int) int {
	at := len(c.out)
	c.out = append(c.out, 0, 0, 0, 0, 0, 0, 0, 0)
	c.out = append(c.out, `{"code":`...)
	c.out = strconv.AppendInt(c.out, int64(code), 10)
	c.out = append(c.out, `,"extFields":{`...)
	return at
}

// field adds an extField; the value must need no escape.
func (c *Conn) field(name, value string) {
	c.out = append(c.out, '"')
	c.out = append(c.out, name...)
	c.out = append(c.out, `":"`...)
	c.out = append(c.out, value...)
	c.out = append(c.out, `",`...)
}

func (c *Conn) fieldInt(name string, v int64) {
	c.out = append(c.out, '"')
	c.out = append(c.out, name...)
	c.out = append(c.out, `":"`...)
	c.out = strconv.AppendInt(c.out, v, 10)
	c.out = append(c.out, `",`...)
}

// endHeader closes the header of the frame that starts at at; the body follows.
func (c *Conn) endHeader(at int, opaque int32) {
	if last := len(c.out) - 1; c.out[last] == ',' {
		c.out = c.out[:last]
	}
	c.out = append(c.out, `},"flag":0,"language":"JAVA","opaque":`...)
	c.out = strconv.AppendInt(c.out, int64(opaque), 10)
	c.out = append(c.out, `,"serializeTypeCurrentRPC":"JSON","version":479}`...)
	binary.BigEndian.PutUint32(c.out[at+4:], uint32(len(c.out)-at-headerOverhead))
}

// endFrame closes the frame.
func (c *Conn) endFrame(at int) {
	binary.BigEndian.PutUint32(c.out[at:], uint32(len(c.out)-at-4))
}

// flush writes what has been built.
func (c *Conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.c.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return fmt.Errorf("writing requests: %w", err)
	}
	return nil
}

// read reads one frame; requests from the broker are dropped.
func (c *Conn) read() (answer, error) { return c.readOr(nil) }

// readOr is read that calls idle before it has to wait.
func (c *Conn) readOr(idle func() error) (answer, error) {
	b, err := c.in.frame(idle)
	if err != nil {
		return answer{}, fmt.Errorf("reading an answer: %w", err)
	}
	headerLen := int(binary.BigEndian.Uint32(b) & 0xffffff)
	if b = b[headerOverhead-4:]; headerLen > len(b) {
		return answer{}, fmt.Errorf("reading an answer: frame of %d with a header of %d bytes", len(b), headerLen)
	}
	a := answer{header: b[:headerLen], body: b[headerLen:]}
	code, ok1 := number(a.header, `"code":`)
	opaque, ok2 := number(a.header, `"opaque":`)
	if !ok1 || !ok2 {
		return answer{}, fmt.Errorf("reading an answer: header %q", a.header)
	}
	a.code, a.opaque = int(code), int32(opaque)
	return a, nil
}

// number finds a JSON number, bare or in quotes, by the text before it.
func number(b []byte, after string) (int64, bool) {
	i := bytes.Index(b, []byte(after))
	if i < 0 {
		return 0, false
	}
	i += len(after)
	if i < len(b) && b[i] == '"' {
		i++
	}
	var n int64
	neg := i < len(b) && b[i] == '-'
	if neg {
		i++
	}
	start := i
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int64(b[i]-'0')
	}
	if neg {
		n = -n
	}
	return n, i > start
}

// call sends one request and waits for its answer.
func (c *Conn) call(code int, fields ...string) (answer, error) {
	c.n++
	at := c.begin(code)
	for i := 0; i+1 < len(fields); i += 2 {
		c.field(fields[i], fields[i+1])
	}
	c.endHeader(at, c.n)
	c.endFrame(at)
	if err := c.flush(); err != nil {
		return answer{}, err
	}
	for {
		a, err := c.read()
		if err != nil || a.opaque == c.n {
			return a, err
		}
	}
}

// Bounds asks for the first and the next offset of a queue.
func (c *Conn) Bounds(topic string, queue int) (first, next int64, err error) {
	for code, to := range map[int]*int64{codeMinOffset: &first, codeMaxOffset: &next} {
		a, err := c.call(code, "topic", topic, "queueId", strconv.Itoa(queue))
		if err != nil {
			return 0, 0, err
		}
		n, ok := number(a.header, `"offset":`)
		if a.code != codeOK || !ok {
			return 0, 0, fmt.Errorf("asking for the bounds of %s/%d: %q", topic, queue, a.header)
		}
		*to = n
	}
	return first, next, nil
}

// Route asks a name server for the route of a topic; it is an error if it knows none.
func (c *Conn) Route(topic string) error {
	a, err := c.call(codeRoute, "topic", topic)
	if err == nil && a.code != codeOK {
		err = fmt.Errorf("asking for the route of %s: %q", topic, a.header)
	}
	return err
}
