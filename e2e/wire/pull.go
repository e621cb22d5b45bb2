package wire

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
)

const (
	posQueueOffset  = 20 // in a stored record
	minRecord       = 91
	pullSubscribed  = 4 // sysFlag: the subscription is in the request, no heartbeat needed
	idleRetryMillis = 2
)

// Catchup reads queues from their first offset to an end by plain pulls, one open pull a queue.
type Catchup struct {
	Addr      string
	History   string // where a pull is repeated that the broker sends on, "" if it never does
	Topic     string
	Queues    int
	PullBatch int   // messages a pull
	Messages  int64 // stop after so many
	From      int64 // first offset of each queue

	// Each, if set, is given every stored record; it must not keep it.
	Each func(queue int, record []byte) error
}

// Pulled is what a catch-up read.
type Pulled struct {
	Messages int64
	Bytes    int64
	Cold     int64 // messages that the history node served
	Elapsed  time.Duration
}

// Rate is messages a second.
func (p *Pulled) Rate() float64 { return float64(p.Messages) / p.Elapsed.Seconds() }

type pullQueue struct {
	next int64
	end  int64
	cold bool
}

type puller struct {
	Catchup
	conns  [2]*Conn // the broker's and the history node's
	queues []pullQueue
	got    Pulled
	open   [2]int
}

// Run reads until it has all and checks that offsets follow each other.
func (c Catchup) Run(ctx context.Context) (*Pulled, error) {
	p := &puller{Catchup: c, queues: make([]pullQueue, c.Queues)}
	for i, addr := range []string{c.Addr, c.History} {
		if addr == "" {
			continue
		}
		conn, err := Dial(addr)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		p.conns[i] = conn
	}
	for i := range p.queues {
		_, end, err := p.conns[0].Bounds(c.Topic, i)
		if err != nil {
			return nil, err
		}
		p.queues[i] = pullQueue{next: c.From, end: min(end, c.From+c.Messages/int64(c.Queues))}
	}
	start := time.Now()
	for i := range p.queues {
		p.ask(i)
	}
	for p.open[0]+p.open[1] > 0 && ctx.Err() == nil {
		for side := range p.conns {
			if err := p.turn(side); err != nil {
				return nil, err
			}
		}
	}
	p.got.Elapsed = time.Since(start)
	return &p.got, ctx.Err()
}

// ask puts the next pull of a queue into the out-buffer, if any is left.
func (p *puller) ask(q int) {
	s := &p.queues[q]
	if s.next >= s.end {
		return
	}
	side := 0
	if s.cold {
		side = 1
	}
	c := p.conns[side]
	at := c.begin(codePull)
	c.field("consumerGroup", "bench_puller")
	c.field("topic", p.Topic)
	c.fieldInt("queueId", int64(q))
	c.fieldInt("queueOffset", s.next)
	c.fieldInt("maxMsgNums", int64(p.PullBatch))
	c.fieldInt("sysFlag", pullSubscribed)
	c.field("commitOffset", "0")
	c.field("suspendTimeoutMillis", "0")
	c.field("subscription", "*")
	c.field("subVersion", "0")
	c.field("expressionType", "TAG")
	c.endHeader(at, int32(q))
	c.endFrame(at)
	p.open[side]++
}

// turn takes the answers of one side that are there, or waits for one. What is
// to be asked next is written before it waits, and not for each answer: a write
// costs either end.
func (p *puller) turn(side int) error {
	for c := p.conns[side]; p.open[side] > 0; {
		a, err := c.readOr(p.flush)
		if err != nil {
			return err
		}
		p.open[side]--
		if err := p.take(side, int(a.opaque), a); err != nil {
			return err
		}
		if p.open[1-side] > 0 && c.in.buffered() < headerOverhead {
			return nil
		}
	}
	return nil
}

// flush writes what is to be asked on either side.
func (p *puller) flush() error {
	for _, c := range p.conns {
		if c == nil {
			continue
		}
		if err := c.flush(); err != nil {
			return err
		}
	}
	return nil
}

func (p *puller) take(side, q int, a answer) error {
	if q < 0 || q >= len(p.queues) {
		return fmt.Errorf("pull: answer to nothing asked: %q", a.header)
	}
	s := &p.queues[q]
	switch a.code {
	case codeOK:
		n, err := p.records(s, q, a.body)
		if err != nil {
			return err
		}
		p.got.Messages += n
		p.got.Bytes += int64(len(a.body))
		if side == 1 {
			p.got.Cold += n
		}
	case codePullRetry:
		next, ok := number(a.header, `"nextBeginOffset":`)
		if ok && next != s.next {
			return fmt.Errorf("pull: queue %d sent from %d to %d", q, s.next, next)
		}
	case codePullNone:
		if err := p.flush(); err != nil {
			return err
		}
		time.Sleep(idleRetryMillis * time.Millisecond)
	default:
		return fmt.Errorf("pull: queue %d at %d: %q", q, s.next, a.header)
	}
	id, ok := number(a.header, `"suggestWhichBrokerId":`)
	s.cold = ok && id > 0 && p.conns[1] != nil
	p.ask(q)
	return nil
}

// records counts the records of an answer and checks their offsets.
func (p *puller) records(s *pullQueue, q int, b []byte) (int64, error) {
	var n int64
	for len(b) > 0 {
		if len(b) < minRecord {
			return n, fmt.Errorf("pull: queue %d: %d bytes left over", q, len(b))
		}
		size := int(binary.BigEndian.Uint32(b))
		if size < minRecord || size > len(b) {
			return n, fmt.Errorf("pull: queue %d: record of %d bytes in %d", q, size, len(b))
		}
		if at := int64(binary.BigEndian.Uint64(b[posQueueOffset:])); at != s.next {
			return n, fmt.Errorf("pull: queue %d: offset %s where %d was due", q, strconv.FormatInt(at, 10), s.next)
		}
		if p.Each != nil {
			if err := p.Each(q, b[:size]); err != nil {
				return n, err
			}
		}
		s.next++
		n++
		b = b[size:]
	}
	return n, nil
}
