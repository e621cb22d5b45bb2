package wire

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	codeEndTransaction = 37
	transactionCommit  = "8"
	offsetIDLength     = 32 // of a message id that is its place: address, port, position
)

// RunTransactions sends half messages and commits each as soon as it is
// answered. Sent counts the committed; their latency is that of both together.
func (l Load) RunTransactions(ctx context.Context, group string) (*Sent, error) {
	ctx, cancel := context.WithTimeout(ctx, l.Limit)
	defer cancel()
	all := make([]*transactor, l.Connections)
	for i := range all {
		c, err := Dial(l.Addr)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		all[i] = &transactor{Load: l, group: group, conn: c, slots: make([]transaction, l.Window)}
	}
	start := time.Now()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, t := range all {
		wg.Go(func() { errs[i] = t.run(ctx) })
	}
	wg.Wait()
	sum := &Sent{Elapsed: time.Since(start)}
	for _, t := range all {
		sum.Messages += t.sent
		sum.Refused += t.refused
		sum.Latency.Merge(&t.latency)
		if t.refusal != "" {
			sum.Refusal = t.refusal
		}
	}
	return sum, errors.Join(errs...)
}

// transaction is one slot: a half on its way, or its end.
type transaction struct {
	begun  time.Time
	id     string
	ending bool
}

type transactor struct {
	Load
	group         string
	conn          *Conn
	slots         []transaction
	open          int
	sent, refused int64
	refusal       string
	latency       Histogram
}

func (t *transactor) run(ctx context.Context) error {
	for slot := range t.slots {
		t.half(int32(slot))
	}
	for t.open > 0 {
		if err := t.conn.flush(); err != nil {
			return err
		}
		for {
			a, err := t.conn.read()
			if err != nil {
				return err
			}
			if bytesFlag(a.header) {
				if err := t.take(ctx, a); err != nil {
					return err
				}
			}
			if t.open == 0 || t.conn.in.buffered() < headerOverhead {
				break
			}
		}
	}
	return nil
}

func (t *transactor) take(ctx context.Context, a answer) error {
	s := &t.slots[a.opaque]
	switch {
	case a.code != codeOK:
		t.refused, t.refusal = t.refused+1, string(a.header)
	case !s.ending:
		return t.end(a)
	default:
		t.sent++
		t.latency.Add(time.Since(s.begun))
	}
	t.open--
	if ctx.Err() == nil {
		t.half(a.opaque)
	}
	return nil
}

// half sends a half message, as the Java producer does.
func (t *transactor) half(slot int32) {
	c, n := t.conn, t.Serial.Add(1)
	id := string(appendSerial([]byte("7F0000010A2B18B4AAC2"), n))
	t.slots[slot] = transaction{begun: time.Now(), id: id}
	at := c.begin(codeSendV2)
	c.field("a", t.group)
	c.field("b", t.Topic)
	c.field("c", "TBW102")
	c.field("d", "4")
	c.fieldInt("e", n%int64(t.Queues))
	c.field("f", "4") // prepared
	c.fieldInt("g", time.Now().UnixMilli())
	c.field("h", "0")
	c.out = append(c.out, `"i":"`...)
	c.out = appendProperties(c.out, n, `\u0001`, `\u0002`)
	c.out = append(c.out, `\u0002TRAN_MSG\u0001true\u0002PGROUP\u0001`...)
	c.out = append(c.out, t.group...)
	c.out = append(c.out, `",`...)
	c.field("j", "0")
	c.field("k", "false")
	c.field("m", "false")
	c.field("n", t.Broker)
	c.endHeader(at, slot)
	c.out = t.Corpus.Append(c.out, n)
	c.endFrame(at)
	t.open++
}

// end commits the half that was answered.
func (t *transactor) end(a answer) error {
	s := &t.slots[a.opaque]
	place, err := hex.DecodeString(text(a.header, `"msgId":"`))
	offset, ok := number(a.header, `"queueOffset":`)
	if err != nil || !ok || len(place) != offsetIDLength/2 {
		return fmt.Errorf("half message: %q", a.header)
	}
	s.ending = true
	c := t.conn
	at := c.begin(codeEndTransaction)
	c.field("topic", t.Topic)
	c.field("producerGroup", t.group)
	c.fieldInt("tranStateTableOffset", offset)
	c.fieldInt("commitLogOffset", int64(binary.BigEndian.Uint64(place[8:])))
	c.field("commitOrRollback", transactionCommit)
	c.field("fromTransactionCheck", "false")
	c.field("msgId", s.id)
	c.field("transactionId", s.id)
	c.field("bname", t.Broker)
	c.endHeader(at, a.opaque)
	c.endFrame(at)
	return nil
}
