package history

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"varve/internal/mq"
	"varve/internal/objstore/mem"
	"varve/internal/remoting"
)

// ahead waits until what the reader at an offset wants next is decoded.
func ahead(t *testing.T, n *Node, q mq.Queue, at int64) {
	t.Helper()
	n.runs.mu.Lock()
	s := n.runs.readers.by[expected{q, at}]
	n.runs.mu.Unlock()
	if s == nil {
		t.Fatalf("nobody is expected at %d", at)
	}
	n.runs.first(t.Context(), s.Value.(*entry[expected, *runReader]).value)
}

// sequential reads a queue's first batches, so that its reader is known to go on.
func sequential(t *testing.T, n *Node, q mq.Queue, lim mq.Limit) (at int64) {
	t.Helper()
	for range 2 {
		b, err := n.Read(t.Context(), q, at, lim)
		if err != nil {
			t.Fatal(err)
		}
		at = b.Next
	}
	ahead(t, n, q, at)
	return at
}

// TestReadersAreDecodedAheadOf: who goes on where it stopped finds what it wants
// in memory, each record once and as it was stored, lent or not, whatever its
// limits.
func TestReadersAreDecodedAheadOf(t *testing.T) {
	const messages = 3000
	in := plain("t", 0, messages, time.Unix(0, 0))
	a := openArchive(t, mem.New())
	store(t, a, broker, in, 700)
	n := newNode(t, a, nil)
	q := mq.Queue{Broker: broker, Topic: "t"}
	for name, lim := range map[string]mq.Limit{
		"lent": {Messages: 32, Lend: true}, "own": {Messages: 32}, "bytes": {Bytes: 3000, Lend: true}, "scan": {Messages: 100, Scan: 7},
	} {
		t.Run(name, func(t *testing.T) {
			var held []mq.Batch // a few are not given back at once
			var whole []byte
			at, ready := int64(0), 0
			for at < messages {
				b, ok := n.Ready(q, at, lim)
				if ok {
					ready++
				} else {
					var err error
					if b, err = n.Read(t.Context(), q, at, lim); err != nil {
						t.Fatal(err)
					}
				}
				if b.Next <= at || b.Next-at != int64(b.Count) || lim.Messages > 0 && b.Count > lim.Messages ||
					lim.Scan > 0 && b.Count > lim.Scan || lim.Bytes > 0 && len(b.Body) > lim.Bytes || b.Range != (mq.Range{To: messages}) {
					t.Fatalf("at %d: %d records of %d bytes to %d, range %v", at, b.Count, len(b.Body), b.Next, b.Range)
				}
				if !lim.Lend && b.Free != nil {
					t.Fatalf("at %d: lent without being asked", at)
				}
				if held = append(held, b); len(held) == 5 {
					for i := range held {
						whole = append(whole, held[i].Body...)
						held[i].Release()
					}
					held = held[:0]
				}
				if at = b.Next; at < messages && at%700 != 0 {
					if s := n.runs.readers.by[expected{q, at}]; s != nil {
						ahead(t, n, q, at)
					}
				}
			}
			for i := range held {
				whole = append(whole, held[i].Body...)
			}
			var want []byte
			for i := range in {
				want = mq.AppendRecord(want, &in[i])
			}
			if !bytes.Equal(whole, want) {
				t.Errorf("%d bytes, want %d, and they differ", len(whole), len(want))
			}
			if ready < 50 {
				t.Errorf("%d reads found what they wanted", ready)
			}
		})
	}
}

// TestDecodedAheadButRemoved: what retention has taken out of the table isn't
// served from memory.
func TestDecodedAheadButRemoved(t *testing.T) {
	k := newKept(t)
	at := sequential(t, k.node, keptQueue, mq.Limit{Messages: 2, Lend: true})
	k.rule(50 * time.Second)
	k.apply(t)
	if from := k.from(t); from <= at {
		t.Fatalf("the first offset is %d, the reader is at %d", from, at)
	}
	if b, ok := k.node.Ready(keptQueue, at, mq.Limit{Messages: 2}); ok {
		t.Errorf("%d records from %d on are still given out", b.Count, at)
	}
	at = k.from(t)
	for range 2 {
		b, err := k.node.Read(t.Context(), keptQueue, at, mq.Limit{Messages: 2})
		if err != nil {
			t.Fatal(err)
		}
		at = b.Next
	}
	ahead(t, k.node, keptQueue, at)
	k.now = k.now.Add(time.Hour)
	k.apply(t)
	if _, err := k.node.Read(t.Context(), keptQueue, at, mq.Limit{}); !errors.Is(err, mq.ErrTooLow) {
		t.Errorf("a read of what was removed: %v", err)
	}
}

// TestDecodedAheadIsBounded: however many readers stop where they are, what was
// decoded for them stays within the budget, and goes when nobody comes.
func TestDecodedAheadIsBounded(t *testing.T) {
	const budget = 3*(2*runRoom+streamBytes) + 100
	a := openArchive(t, mem.New())
	n := newNode(t, a, func(c *Config) { c.DecodedBytes = budget })
	for id := range int32(10) {
		store(t, a, broker, plain("t", id, 2000, time.Unix(0, 0)), 2000)
		sequential(t, n, mq.Queue{Broker: broker, Topic: "t", ID: id}, mq.Limit{Messages: 32, Lend: true})
		if used := n.runs.readers.used; used > budget {
			t.Fatalf("%d readers: %d of %d bytes", id+1, used, budget)
		}
	}
	if len(n.runs.readers.by) < 3 {
		t.Errorf("%d readers are known", len(n.runs.readers.by))
	}
	n.runs.sweep()
	if len(n.runs.readers.by) < 3 {
		t.Error("gone at the first look")
	}
	n.runs.sweep()
	if left, used := len(n.runs.readers.by), n.runs.readers.used; left > 0 || used != 0 {
		t.Errorf("%d readers and %d bytes are left", left, used)
	}
}

// TestLongMessagesAreNotDecodedAhead: what is decoded ahead has a bound that one
// message may be over, and who takes more than a run at a time gets what it asks for.
func TestLongMessagesAreNotDecodedAhead(t *testing.T) {
	in := plain("t", 0, 1000, time.Unix(0, 0))
	for i := 20; i < 40; i++ {
		in[i].Body = bytes.Repeat([]byte{byte(i)}, runRoom)
	}
	for i := 100; i < 1000; i++ {
		in[i].Body = bytes.Repeat([]byte{byte(i)}, 2000)
	}
	a := openArchive(t, mem.New())
	store(t, a, broker, in, 1000)
	n := newNode(t, a, nil)
	q := mq.Queue{Broker: broker, Topic: "t"}
	for at := int64(0); at < 40; {
		b, err := n.Read(t.Context(), q, at, mq.Limit{Messages: 1, Lend: true})
		if err != nil || b.Count != 1 || b.Next != at+1 {
			t.Fatalf("at %d: %d records to %d: %v", at, b.Count, b.Next, err)
		}
		rec := mq.AppendRecord(nil, &in[at])
		if !bytes.Equal(b.Body, rec) {
			t.Fatalf("record %d differs", at)
		}
		b.Release()
		n.runs.mu.Lock()
		for _, e := range n.runs.readers.by {
			for _, u := range e.Value.(*entry[expected, *runReader]).value.ready {
				if len(u.whole.Body) > runRoom {
					t.Errorf("at %d: a run of %d bytes", at, len(u.whole.Body))
				}
			}
		}
		n.runs.mu.Unlock()
		at = b.Next
	}
	for at := int64(100); at < 1000; at += 150 {
		if b, err := n.Read(t.Context(), q, at, mq.Limit{Messages: 150, Lend: true}); err != nil || b.Count != 150 {
			t.Errorf("at %d: %d records of 150: %v", at, b.Count, err)
		}
	}
}

// TestReaderOfConnectionAnswersWhatIsDecoded: a pull that finds its records needs no
// worker and no place to decode in.
func TestReaderOfConnectionAnswersWhatIsDecoded(t *testing.T) {
	a := openArchive(t, mem.New())
	store(t, a, broker, plain("t", 0, 1000, time.Unix(1000, 0)), 1000)
	node := newNode(t, a, func(c *Config) { c.Reads = 1 })
	client := remoting.NewClient(serve(t, ServerConfig{Broker: broker, Conn: remoting.Config{MaxWorkers: 1}}, node), remoting.ClientConfig{})
	t.Cleanup(func() { client.Close() })
	s := &served{node: node, client: client}
	call(t, client, remoting.Heartbeat, heartbeat)
	expect(t, "first", s.pull(t, "t", "0"), 0, "32", "1000", 32)
	expect(t, "second", s.pull(t, "t", "32"), 0, "64", "1000", 32)
	ahead(t, node, mq.Queue{Broker: broker, Topic: "t"}, 64)
	leave, err := node.lane.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan struct{})
	go func() { // takes the only worker, and waits for a place
		defer close(waits)
		_, _ = client.Call(ctx, remoting.NewRequest(remoting.PullMessage, "consumerGroup", "g", "topic", "t", "queueId", "0",
			"queueOffset", "500", "maxMsgNums", "32", "sysFlag", "2", "commitOffset", "0", "subVersion", "0"))
	}()
	expect(t, "decoded", s.pull(t, "t", "64"), 0, "96", "1000", 32)
	expect(t, "decoded, subscription in the pull", s.pull(t, "t", "96", "sysFlag", "4", "subscription", "*"), 0, "128", "1000", 32)
	leave()
	cancel()
	<-waits
	expect(t, "of a tag", s.pull(t, "t", "128", "sysFlag", "4", "subscription", "t1"), 0, "192", "1000", 32)
}
