package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// transaction runs the commands of stories about transactions:
//
//	half topic=T group=G as=NAME [queue=N] [P=V…]   the input is the body
//	end of=NAME as=commit|rollback|unknown|NUMBER [group=G] [check] [offset=N]
//	halves [given-up] [topic=T] [group=G] · resolve of=NAME as=commit|rollback
//	restore of=NAME | physical-of-last (of TRANS_CHECK_MAX_TIME_TOPIC)
//	producer client=C group=G [deaf] [for=1m] · asked client=C
func (s *story) transaction(a arguments) (string, error) {
	r, known := s.halves[a.word("of")]
	if a.word("of") != "" && !known {
		return "", fmt.Errorf("no half %q", a.word("of"))
	}
	switch a.Cmd {
	case "half":
		return s.half(a)
	case "end":
		e := EndTransaction{
			Group: a.word("group"), HalfOffset: a.number("offset", r.QueueOffset), HalfPhysical: r.PhysicalOffset,
			Resolution: resolution(a), FromCheck: a.HasArg("check"),
		}
		if e.Group == "" {
			e.Group = "payers"
		}
		return "", s.EndTransaction(context.Background(), e)
	case "resolve":
		return "", s.ResolveTransaction(context.Background(), r.PhysicalOffset, resolution(a))
	case "restore":
		physical := r.PhysicalOffset
		if !known {
			aside := s.all("TRANS_CHECK_MAX_TIME_TOPIC", 0)
			physical = aside[len(aside)-1].PhysicalOffset
		}
		return "", s.RestoreTransaction(context.Background(), physical)
	case "halves":
		synctest.Wait()
		list, err := s.Transactions(TransactionQuery{Topic: a.word("topic"), Group: a.word("group"), GivenUp: a.HasArg("given-up")})
		var out strings.Builder
		for _, h := range list {
			fmt.Fprintf(&out, "%s/%d %s of %s", h.Topic, h.QueueID, h.Record.Body(), h.Group)
			if !h.GivenUp {
				fmt.Fprintf(&out, ", asked %d times, next %v", h.Checks, time.UnixMilli(h.NextCheckMillis).Sub(s.start))
			}
			out.WriteByte('\n')
		}
		return out.String(), err
	case "producer":
		c := s.client(a.word("client"))
		c.deaf = a.HasArg("deaf")
		for until := time.Now().Add(a.duration("for")); ; time.Sleep(30 * time.Second) {
			_, err := s.Heartbeat(c, &Heartbeat{ClientID: a.word("client"), Producers: []string{a.word("group")}})
			if err != nil || !time.Now().Before(until) {
				return "", err
			}
		}
	case "asked":
		synctest.Wait()
		var out strings.Builder
		for c := s.client(a.word("client")); len(c.told) > 0; {
			fmt.Fprintln(&out, <-c.told)
		}
		return out.String(), nil
	}
	return "", fmt.Errorf("unknown command %q", a.Cmd)
}

func resolution(a arguments) Resolution {
	switch a.word("as") {
	case "commit":
		return TransactionCommit
	case "rollback":
		return TransactionRollback
	case "unknown":
		return TransactionUnknown
	}
	return Resolution(a.number("as", 0))
}

func (s *story) half(a arguments) (string, error) {
	m := message(a.word("topic"), int32(a.number("queue", 0)), strings.TrimSpace(a.Input), mq.PropTransaction, "true", mq.PropUniqKey, "ID-"+a.word("as"))
	for _, arg := range a.CmdArgs {
		switch arg.Key {
		case "topic", "queue", "group", "as":
		default:
			m.Properties = mq.AppendProperty(m.Properties, arg.Key, strings.Join(arg.Vals, " "))
		}
	}
	m.SysFlag = mq.SysPrepared
	got, err := s.trySend(&SendRequest{Group: a.word("group"), Message: m, DefaultTopic: mq.AutoTopic})
	if err != nil {
		return "", err
	}
	s.halves[a.word("as")] = got[0]
	return fmt.Sprintf("%s/%d, half at %d\n", got[0].Queue.Topic, got[0].Queue.ID, got[0].QueueOffset), nil
}

// TestCommittedMessage looks at the fields that stories don't show.
func TestCommittedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), nil)
		defer r.stop()
		m := message("orders", 2, "paid", mq.PropTransaction, "true", mq.PropTags, "a", mq.PropProducerGroup, "payers",
			mq.PropRealTopic, mq.ScheduleTopic, mq.PropRealQueueID, "7", mq.PropUniqKey, "U1")
		m.SysFlag = mq.SysPrepared | mq.SysCompressed
		m.Flag = 5
		got := r.send(m)
		if got.MsgID != "U1" || got.Queue.Topic != "orders" || got.Queue.ID != 2 {
			t.Errorf("receipt %+v", got)
		}
		halves := r.all(mq.HalfTopic, 0)
		if len(halves) != 1 || halves[0].PhysicalOffset != got.PhysicalOffset || halves[0].QueueOffset != got.QueueOffset {
			t.Fatalf("half messages %+v, receipt %+v", halves, got)
		}
		if h := halves[0]; h.SysFlag&mq.SysRollback != 0 || h.Property("__transactionId__") != "U1" {
			t.Errorf("half %+v", h)
		}
		err := r.EndTransaction(t.Context(), EndTransaction{Group: "payers", HalfOffset: got.QueueOffset, HalfPhysical: got.PhysicalOffset, Resolution: TransactionCommit})
		if err != nil {
			t.Fatal(err)
		}
		msgs := r.all("orders", 2)
		if len(msgs) != 1 {
			t.Fatalf("%d messages", len(msgs))
		}
		c := msgs[0]
		if string(c.Body) != "paid" || c.SysFlag != mq.SysCommit|mq.SysCompressed || c.PreparedTransactionOffset != got.PhysicalOffset ||
			c.Flag != 5 || c.BornTimeMillis != 1 || c.BornHost != testHost || c.Tag() != "a" {
			t.Errorf("committed %+v", c)
		}
		for _, name := range []string{mq.PropTransaction, mq.PropRealTopic, mq.PropRealQueueID} {
			if v := c.Property(name); v != "" {
				t.Errorf("committed message has %s=%s", name, v)
			}
		}
		if c.Property(mq.PropProducerGroup) != "payers" || c.Property(mq.PropUniqKey) != "U1" {
			t.Errorf("properties %v", props(c))
		}
	})
}

// TestTransactionLimit refuses what is over a topic's limit.
func TestTransactionLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), func(c *Config, _ *Deps) { c.TransactionsPerTopic = 3 })
		defer r.stop()
		var last Receipt
		for range 3 {
			last = r.send(message("orders", 0, "x", mq.PropTransaction, "true", mq.PropProducerGroup, "g"))
			synctest.Wait()
		}
		_, err := r.trySend(&SendRequest{Message: message("orders", 0, "x", mq.PropTransaction, "true", mq.PropProducerGroup, "g")})
		if !errors.Is(err, ErrBusy) {
			t.Errorf("the fourth: %v", err)
		}
		r.send(message("other", 0, "x", mq.PropTransaction, "true", mq.PropProducerGroup, "g"))
		if err := r.EndTransaction(t.Context(), EndTransaction{Group: "g", HalfOffset: last.QueueOffset, HalfPhysical: last.PhysicalOffset, Resolution: TransactionRollback}); err != nil {
			t.Fatal(err)
		}
		r.send(message("orders", 0, "x", mq.PropTransaction, "true", mq.PropProducerGroup, "g"))
	})
}
