package wire

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"varve/e2e/corpus"
)

// Load is a stream of sends over several connections.
type Load struct {
	Addr        string
	Topic       string
	Broker      string // broker name, in the header as Java sends it
	Corpus      *corpus.Corpus
	Connections int
	Window      int // unanswered requests a connection
	Batch       int // messages a request; 0 or 1 is a plain send
	Queues      int
	PerSecond   int           // paced over all connections; 0 is as fast as answers come
	Limit       time.Duration // ends after this time, or
	Messages    int64         // after so many messages
	Serial      *atomic.Int64 // next serial number, shared by all loads of a topic

	// Place, if set, gives each request its topic and queue, in place of Topic and Queues.
	Place func(serial int64) (topic string, queue int)
	// Due, if set, gives each message the time to be delivered at.
	Due func(now time.Time, serial int64) int64
	// Acked, if set, is told the first serial of each request that was taken; from several goroutines.
	Acked func(first int64)
	// Placed, if set, is told where the message of each plain send that was taken is; from several goroutines.
	Placed func(serial int64, queue int, offset int64)
}

// Sent is what a load did.
type Sent struct {
	Messages int64
	Refused  int64 // requests that were answered with an error; they are not counted in Messages
	Refusal  string
	Elapsed  time.Duration
	Latency  Histogram
}

// Rate is messages a second.
func (s *Sent) Rate() float64 { return float64(s.Messages) / s.Elapsed.Seconds() }

// Run sends until the limit and waits for all answers.
func (l Load) Run(ctx context.Context) (*Sent, error) {
	if l.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.Limit)
		defer cancel()
	}
	var left atomic.Int64
	left.Store(l.Messages)
	if l.Messages == 0 {
		left.Store(1 << 62)
	}
	senders := make([]*sender, l.Connections)
	for i := range senders {
		c, err := Dial(l.Addr)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		senders[i] = newSender(l, c, i, &left)
	}
	start := time.Now()
	errs := make([]error, len(senders))
	var wg sync.WaitGroup
	for i, s := range senders {
		wg.Go(func() { errs[i] = s.run(ctx, start) })
	}
	wg.Wait()
	sum := &Sent{Elapsed: time.Since(start)}
	for _, s := range senders {
		sum.Messages += s.sent
		sum.Refused += s.refused
		sum.Latency.Merge(&s.latency)
		if s.refusal != "" {
			sum.Refusal = s.refusal
		}
	}
	return sum, errors.Join(errs...)
}

// sender keeps one connection's window full: it answers each answer with a
// next request and writes when no further answer is waiting in the buffer.
type sender struct {
	Load
	conn  *Conn
	id    int
	left  *atomic.Int64
	begun []time.Time // by slot
	first []int64     // by slot: the request's first serial
	free  []int32
	due   time.Time // of the next request, if paced
	gap   time.Duration

	sent, refused int64
	refusal       string
	latency       Histogram
	body          []byte
}

func newSender(l Load, c *Conn, id int, left *atomic.Int64) *sender {
	s := &sender{Load: l, conn: c, id: id, left: left, begun: make([]time.Time, l.Window), first: make([]int64, l.Window)}
	for i := range l.Window {
		s.free = append(s.free, int32(i))
	}
	if l.PerSecond > 0 {
		s.gap = time.Second * time.Duration(l.Connections) / time.Duration(l.PerSecond)
	}
	return s
}

func (s *sender) run(ctx context.Context, start time.Time) error {
	s.due = start.Add(s.gap * time.Duration(s.id) / time.Duration(s.Connections))
	for {
		if err := s.fill(ctx); err != nil {
			return err
		}
		if len(s.free) == s.Window {
			return nil // nothing more to send, nothing open
		}
		if s.gap > 0 && len(s.free) > 0 && s.conn.in.buffered() == 0 && ctx.Err() == nil {
			if ready, err := s.waitUntilDue(); err != nil || !ready {
				if err != nil {
					return err
				}
				continue
			}
		}
		if err := s.receive(); err != nil {
			return err
		}
	}
}

// fill uses every free slot of the window, as far as the pace allows.
func (s *sender) fill(ctx context.Context) error {
	per := int64(max(s.Batch, 1))
	for len(s.free) > 0 && ctx.Err() == nil {
		now := time.Now()
		if s.gap > 0 {
			if now.Before(s.due) {
				if len(s.free) == s.Window { // nothing to wait for but the clock
					if err := s.conn.flush(); err != nil {
						return err
					}
					time.Sleep(s.due.Sub(now))
					continue
				}
				break
			}
			// Late requests are timed from when they were due, so a stall isn't hidden.
			now = s.due
			s.due = s.due.Add(s.gap)
		}
		if s.left.Add(-per) < 0 {
			break
		}
		slot := s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
		s.begun[slot] = now
		s.request(slot, now)
	}
	return s.conn.flush()
}

// waitUntilDue waits for an answer until the next request is due; ready says that one has come.
func (s *sender) waitUntilDue() (ready bool, err error) {
	if err := s.conn.c.SetReadDeadline(s.due); err != nil {
		return false, fmt.Errorf("setting a deadline: %w", err)
	}
	err = s.conn.in.await(1, nil)
	if e := s.conn.c.SetReadDeadline(s.conn.end); e != nil {
		return false, fmt.Errorf("restoring a deadline: %w", e)
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return false, nil
	}
	return err == nil, err
}

// receive takes an answer and all others that are there already.
func (s *sender) receive() error {
	for {
		a, err := s.conn.read()
		if err != nil {
			return err
		}
		if slot := a.opaque; slot >= 0 && int(slot) < s.Window && bytesFlag(a.header) {
			s.latency.Add(time.Since(s.begun[slot]))
			s.free = append(s.free, slot)
			if a.code == codeOK {
				s.sent += int64(max(s.Batch, 1))
				if s.Acked != nil {
					s.Acked(s.first[slot])
				}
				if s.Placed != nil {
					if err := s.place(s.first[slot], a.header); err != nil {
						return err
					}
				}
			} else {
				s.refused++
				s.refusal = string(a.header)
			}
		}
		if s.conn.in.buffered() < headerOverhead {
			return nil
		}
	}
}

// place tells where a message is.
func (s *sender) place(serial int64, header []byte) error {
	var h struct {
		ExtFields struct{ QueueID, QueueOffset string }
	}
	err := json.Unmarshal(header, &h)
	queue, e1 := strconv.Atoi(h.ExtFields.QueueID)
	offset, e2 := strconv.ParseInt(h.ExtFields.QueueOffset, 10, 64)
	if err = errors.Join(err, e1, e2); err != nil {
		return fmt.Errorf("the answer to a send, %q: %w", header, err)
	}
	s.Placed(serial, queue, offset)
	return nil
}

// bytesFlag tells an answer from a request of the broker.
func bytesFlag(header []byte) bool {
	f, ok := number(header, `"flag":`)
	return ok && f&1 == 1
}

func (s *sender) request(slot int32, now time.Time) {
	c := s.conn
	n := s.Serial.Add(int64(max(s.Batch, 1))) - int64(max(s.Batch, 1))
	s.first[slot] = n
	code := codeSendV2
	if s.Batch > 1 {
		code = codeSendBatch
	}
	topic, queue := s.Topic, 0
	if s.Place != nil {
		topic, queue = s.Place(n)
	} else {
		queue = int((n / int64(max(s.Batch, 1))) % int64(s.Queues))
	}
	at := c.begin(code)
	c.field("a", "bench_producer")
	c.field("b", topic)
	c.field("c", "TBW102")
	c.field("d", "4")
	c.fieldInt("e", int64(queue))
	c.field("f", "0")
	c.fieldInt("g", now.UnixMilli())
	c.field("h", "0")
	if s.Batch <= 1 {
		c.out = append(c.out, `"i":"`...)
		c.out = appendProperties(c.out, n, `\u0001`, `\u0002`)
		if s.Due != nil {
			c.out = append(c.out, `\u0002TIMER_DELIVER_MS\u0001`...)
			c.out = strconv.AppendInt(c.out, s.Due(now, n), 10)
		}
		c.out = append(c.out, `",`...)
	}
	c.field("j", "0")
	c.field("k", "false")
	c.field("n", s.Broker)
	if s.Batch > 1 {
		c.field("m", "true")
	} else {
		c.field("m", "false")
	}
	c.endHeader(at, slot)
	if s.Batch > 1 {
		for i := range int64(s.Batch) {
			s.element(n + i)
		}
	} else {
		c.out = s.Corpus.Append(c.out, n)
	}
	c.endFrame(at)
}

// appendProperties appends what the Java producer gives a message with a tag and a key.
func appendProperties(b []byte, n int64, is, end string) []byte {
	add := func(key, value string) {
		b = append(b, key...)
		b = append(b, is...)
		b = append(b, value...)
	}
	add("KEYS", "O-2026-")
	b = appendSerial(b, n)
	b = append(b, end...)
	add("UNIQ_KEY", "7F0000010A2B18B4AAC2")
	b = appendSerial(b, n)
	b = append(b, end...)
	add("WAIT", "true")
	b = append(b, end...)
	add("TAGS", corpus.Tags[n%int64(len(corpus.Tags))])
	return b
}

func appendSerial(b []byte, n int64) []byte {
	b = append(b, "000000000000"...)
	corpus.PutSerial(b[len(b)-12:], n)
	return b
}

// element appends one message of a batch body.
func (s *sender) element(n int64) {
	c := s.conn
	at := len(c.out)
	c.out = append(c.out, make([]byte, 16)...) // size, magic, crc, flag
	s.body = s.Corpus.Append(s.body[:0], n)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(s.body)))
	c.out = append(c.out, s.body...)
	p := len(c.out)
	c.out = append(c.out, 0, 0)
	c.out = appendProperties(c.out, n, "\x01", "\x02")
	binary.BigEndian.PutUint16(c.out[p:], uint16(len(c.out)-p-2))
	binary.BigEndian.PutUint32(c.out[at:], uint32(len(c.out)-at))
}

// SendOne sends one message and waits for its answer; for the time to the first one.
func SendOne(addr, topic, broker string, c *corpus.Corpus) error {
	conn, err := Dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("setting a deadline: %w", err)
	}
	var serial, left atomic.Int64
	s := newSender(Load{Topic: topic, Broker: broker, Corpus: c, Connections: 1, Window: 1, Queues: 1, Serial: &serial}, conn, 0, &left)
	s.request(0, time.Now())
	if err := conn.flush(); err != nil {
		return err
	}
	a, err := conn.read()
	if err == nil && a.code != codeOK {
		err = fmt.Errorf("first send: %q", a.header)
	}
	return err
}
