package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	codePop      = 200050
	codeAck      = 200051
	codePopEmpty = 210
	codePopFull  = 209
	ackOpaque    = 1 << 20 // of acks; pops have those of their slots
	posQueueID   = 12      // in a stored record
)

// Pops pops a backlog by POP and acks each message, as the Java client does.
type Pops struct {
	Addr, Topic, Group, Broker string
	Connections                int
	Window                     int // open pops a connection
	Batch                      int
	Messages                   int64 // ends when so many are acked
}

// Run pops and acks; Sent counts the acked.
func (p Pops) Run(ctx context.Context) (*Sent, error) {
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	var left atomic.Int64
	left.Store(p.Messages)
	poppers := make([]*popper, p.Connections)
	for i := range poppers {
		c, err := Dial(p.Addr)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		poppers[i] = &popper{Pops: p, conn: c, left: &left, enough: enough}
	}
	start := time.Now()
	errs := make([]error, len(poppers))
	var wg sync.WaitGroup
	for i, w := range poppers {
		wg.Go(func() { errs[i] = w.run(ctx) })
	}
	wg.Wait()
	sum := &Sent{Elapsed: time.Since(start)}
	for _, w := range poppers {
		sum.Messages += w.acked
		sum.Refused += w.refused
		if w.refusal != "" {
			sum.Refusal = w.refusal
		}
	}
	return sum, errors.Join(errs...)
}

type popper struct {
	Pops
	conn           *Conn
	left           *atomic.Int64
	enough         func()
	acks           int32
	acked, refused int64
	refusal        string
}

func (w *popper) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = w.conn.c.SetReadDeadline(time.Now()) })
	defer stop()
	for slot := range w.Window {
		w.pop(int32(slot))
	}
	for {
		if err := w.conn.flush(); err != nil {
			return err
		}
		for {
			a, err := w.conn.read()
			if err != nil {
				if ctx.Err() != nil && w.left.Load() <= 0 {
					return nil
				}
				return err
			}
			if err := w.take(a); err != nil {
				return err
			}
			if w.conn.in.buffered() < headerOverhead {
				break
			}
		}
	}
}

func (w *popper) pop(slot int32) {
	c := w.conn
	at := c.begin(codePop)
	c.field("consumerGroup", w.Group)
	c.field("topic", w.Topic)
	c.field("queueId", "-1")
	c.fieldInt("maxMsgNums", int64(w.Batch))
	c.field("invisibleTime", "600000")
	c.field("pollTime", "1000")
	c.fieldInt("bornTime", time.Now().UnixMilli())
	c.field("initMode", "0")
	c.field("expType", "TAG")
	c.field("exp", "*")
	c.endHeader(at, slot)
	c.endFrame(at)
}

func (w *popper) take(a answer) error {
	switch {
	case !bytesFlag(a.header):
		return nil
	case a.opaque >= ackOpaque:
		if a.code != codeOK {
			w.refused, w.refusal = w.refused+1, string(a.header)
			return nil
		}
		w.acked++
		if w.left.Add(-1) == 0 {
			w.enough()
		}
		return nil
	case a.code == codeOK:
		if err := w.ackAll(a); err != nil {
			return err
		}
	case a.code != codePopEmpty && a.code != codePopFull:
		return fmt.Errorf("pop: %q", a.header)
	}
	w.pop(a.opaque)
	return nil
}

// ackAll acks the messages of an answer, each by itself.
func (w *popper) ackAll(a answer) error {
	starts := map[int]string{}
	for _, one := range strings.Split(text(a.header, `"startOffsetInfo":"`), ";") {
		f := strings.Fields(one)
		if len(f) != 3 || f[0] != "0" {
			return fmt.Errorf("pop: begins at %q", one)
		}
		q, err := strconv.Atoi(f[1])
		if err != nil {
			return fmt.Errorf("pop: begins at %q", one)
		}
		starts[q] = f[2]
	}
	popTime, _ := number(a.header, `"popTime":`)
	invisible, _ := number(a.header, `"invisibleTime":`)
	revive, _ := number(a.header, `"reviveQid":`)
	c := w.conn
	for b := a.body; len(b) > 0; {
		if len(b) < minRecord {
			return fmt.Errorf("pop: %d bytes left over", len(b))
		}
		size := int(binary.BigEndian.Uint32(b))
		if size < minRecord || size > len(b) {
			return fmt.Errorf("pop: record of %d bytes in %d", size, len(b))
		}
		q, offset := int64(binary.BigEndian.Uint32(b[posQueueID:])), int64(binary.BigEndian.Uint64(b[posQueueOffset:]))
		w.acks = (w.acks + 1) % ackOpaque
		at := c.begin(codeAck)
		c.field("consumerGroup", w.Group)
		c.field("topic", w.Topic)
		c.fieldInt("queueId", q)
		c.fieldInt("offset", offset)
		c.field("extraInfo", fmt.Sprintf("%s %d %d %d 0 %s %d %d", starts[int(q)], popTime, invisible, revive, w.Broker, q, offset))
		c.endHeader(at, ackOpaque+w.acks)
		c.endFrame(at)
		b = b[size:]
	}
	return nil
}

// text finds a JSON text by what is before it.
func text(b []byte, after string) string {
	_, rest, ok := bytes.Cut(b, []byte(after))
	if !ok {
		return ""
	}
	v, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(v)
}
