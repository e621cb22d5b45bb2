package pop

import (
	"math"
	"sync"
)

// Key names a window: a group in one queue of the topic that the messages lie
// in.
type Key struct {
	Group, Topic string
	Queue        int32
}

// never is a time that doesn't come.
const never = math.MaxInt64

// States of an entry.
const (
	live   = iota // given out, or to be given out in order again
	moving        // a unit with its copy is on its way to the log
	moved         // the log has the copy
	done
)

// entry is one message between the base and next.
type entry struct {
	off  int64
	pop  int64 // when it was given out; names the delivery
	due  int64 // deadline; of a moved one, the position of its done record
	kept int32 // deliveries before this one, of an ordered one
	// Invariant: state of every entry at Window.head is not done.
	state              uint8
	ordered, suspended bool
}

// Window is one group in one queue. Its methods but Lock and Unlock are for who
// has locked it; who changed it calls Store.Changed before unlocking.
type Window struct {
	Key
	store *Store
	group *group

	mu      sync.Mutex
	started bool
	gone    bool // not in the store any more
	next    int64
	entries []entry // from head on, by offset
	head    int
	live    int // entries that are not done
	ordered int // of those, live ones that were given out in order
	moved   int // of those, moved ones

	committed int64 // the base that Options.Commit was told
	wake      int64 // the store's agenda has it at this time; never where it hasn't
	failing   int64 // nothing is copied before: a copy failed
	starved   bool  // somebody found no room, or a blocked queue
	inLine    bool  // in group.line; guarded by group.mu
	attempt   string
	lost      int64 // above every offset that was ended otherwise than by an ack

	dirty    bool  // in Store.dirty
	hasSaved bool  // the meta store has a record
	saved    int64 // next in that record
	savedIn  int64 // the save that wrote it

	// Reading is the owner's mark that somebody reads for the window without
	// its lock.
	Reading bool
}

// Lock takes the window.
func (w *Window) Lock() { w.mu.Lock() }

// Unlock lets go of the window.
func (w *Window) Unlock() { w.mu.Unlock() }

// Gone reports whether the window was forgotten: ask the store for another.
func (w *Window) Gone() bool { return w.gone }

// Started reports whether the window knows where it begins.
func (w *Window) Started() bool { return w.started }

// Next is the offset from which on nothing was given out.
func (w *Window) Next() int64 { return w.next }

// Committed is the progress that was noted last.
func (w *Window) Committed() int64 { return w.committed }

// Base is the offset below which everything is done.
func (w *Window) Base() int64 {
	if w.head < len(w.entries) {
		return w.entries[w.head].off
	}
	return w.next
}

// Start has the window begin at an offset, with nothing in flight. What was is
// forgotten: its handles are expired.
func (w *Window) Start(at int64) {
	w.count(w.moved - w.live)
	w.entries, w.head, w.live, w.ordered, w.moved = nil, 0, 0, 0, 0
	w.lost = max(w.lost, w.next)
	w.next, w.committed, w.started, w.attempt = at, at, true, ""
}

// Stop has the window not know where it begins.
func (w *Window) Stop() {
	w.Start(0)
	w.started = false
}

func (w *Window) count(n int) {
	if n != 0 {
		w.group.live.Add(int64(n))
		w.store.inFlight.Add(int64(n))
	}
}

// Room is how many messages may be given out now. Where it is none,
// Options.Wake is called when there is some. How far next is ahead of the base
// bounds nothing: what is done costs no memory.
func (w *Window) Room() int {
	o := &w.store.o
	n := o.QueueLimit - w.live
	if n > 0 {
		n = min(n, w.group.room(w, o.GroupLimit))
	}
	if n <= 0 {
		w.starved = true
	}
	return max(n, 0)
}

// Give notes that the message at next or later was given out.
func (w *Window) Give(off, popMillis, due int64, ordered bool) {
	w.entries = append(w.entries, entry{off: off, pop: popMillis, due: due, ordered: ordered})
	w.next = off + 1
	w.live++
	if ordered {
		w.ordered++
	}
	w.count(1)
	w.expect(due)
}

// Skip moves next over messages that nobody wants.
func (w *Window) Skip(next int64) { w.next = max(w.next, next) }

// expect has the store look at the window when the deadline is over.
func (w *Window) expect(due int64) {
	if due < w.wake {
		w.wake = due
		w.store.schedule(w, due)
	}
}

// Blocked reports whether an ordered batch, or anything else, is in flight that
// an ordered pop has to wait for. attempt, if not empty, gets its own batch
// again.
func (w *Window) Blocked(now int64, attempt string) bool {
	if attempt != "" && attempt == w.attempt {
		return false
	}
	for i := w.head; i < len(w.entries); i++ {
		if e := &w.entries[i]; e.state == live && e.due > now {
			w.starved = true
			return true
		}
	}
	return false
}

// Live gives the offsets of the live messages, at most n of them.
func (w *Window) Live(n int) (offs []int64) {
	for i := w.head; i < len(w.entries) && len(offs) < n; i++ {
		if e := &w.entries[i]; e.state == live {
			offs = append(offs, e.off)
		}
	}
	return offs
}

// Again notes that a live message was given out in order once more, and tells
// how often it was before. The same attempt doesn't count again.
func (w *Window) Again(off, popMillis, due int64, same bool) (before int32) {
	e := w.find(off)
	if e == nil || e.state != live {
		return 0
	}
	if !same && !e.suspended && e.pop != 0 {
		e.kept++
	}
	if !e.ordered {
		w.ordered++
	}
	e.pop, e.due, e.ordered, e.suspended = max(popMillis, e.pop), due, true, false
	w.expect(due)
	return e.kept
}

// Rewind has what was acked behind a message of an ordered batch come again with
// it, so that the batch keeps its order: RocketMQ goes back to the first message
// without an ack. Those are no failed deliveries. A restart forgets such acks'
// places; then only the messages without an ack come again.
func (w *Window) Rewind() {
	for i := w.head; i < len(w.entries); i++ {
		e := &w.entries[i]
		if e.state != done || !e.ordered || e.pop == 0 {
			continue
		}
		e.state, e.suspended = live, true
		w.live++
		w.ordered++
		w.count(1)
	}
}

// PopOf is the time that names a message's present delivery.
func (w *Window) PopOf(off int64) int64 {
	if e := w.find(off); e != nil {
		return e.pop
	}
	return 0
}

// Attempt names the ordered batch that is in flight.
func (w *Window) Attempt() string { return w.attempt }

// SetAttempt names the ordered batch that is given out now.
func (w *Window) SetAttempt(id string) { w.attempt = id }

// Drop forgets a live message that can't be read any more.
func (w *Window) Drop(off int64) {
	if e := w.find(off); e != nil && e.state == live {
		w.finish(e)
		e.pop = 0
		w.lost = max(w.lost, off+1)
	}
}

// Loosen has what was given out in order come again as everything else does,
// through the retry topic: the group has ceased to consume in order.
func (w *Window) Loosen() {
	if w.ordered == 0 {
		return
	}
	for i := w.head; i < len(w.entries); i++ {
		if e := &w.entries[i]; e.state == live && e.ordered {
			e.ordered = false
			w.expect(e.due)
		}
	}
	w.ordered, w.attempt = 0, ""
}

func (w *Window) finish(e *entry) {
	if e.state == live && e.ordered {
		w.ordered--
	}
	if e.state == moved {
		w.moved--
	} else {
		w.count(-1)
	}
	e.state = done
	w.live--
}

// find gives the entry of an offset, nil where there is none.
func (w *Window) find(off int64) *entry {
	lo, hi := w.head, len(w.entries)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if w.entries[mid].off < off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(w.entries) && w.entries[lo].off == off {
		return &w.entries[lo]
	}
	return nil
}

// compactFrom is the number of dropped entries from which on the others are
// moved down.
const compactFrom = 64

// settle ends the moved entries whose copies the log has synced, and tells how
// many are left.
func (w *Window) settle(durable int64) (left int) {
	if w.moved == 0 {
		return 0
	}
	for i := w.head; i < len(w.entries); i++ {
		if e := &w.entries[i]; e.state == moved && e.due < durable {
			w.finish(e)
			e.pop = 0 // its handle was not acked
		}
	}
	return w.moved
}

// leave notes that the log has an entry's copy, and its done record at a
// position.
func (w *Window) leave(e *entry, physical int64) {
	if e.state == live && e.ordered {
		w.ordered--
	}
	e.state, e.due = moved, physical
	w.lost = max(w.lost, e.off+1)
	w.moved++
	w.count(-1)
}

// trim drops what is done at the front, and behind it when there is more of it
// than of the rest, so that a window is as large as what is in flight, however
// long its oldest message stays. While a batch in order is out nothing else is
// given out, and its acked messages are kept for Rewind.
func (w *Window) trim() {
	for w.head < len(w.entries) && w.entries[w.head].state == done {
		w.head++
	}
	switch {
	case w.head == len(w.entries):
		w.entries, w.head = w.entries[:0], 0
		if cap(w.entries) > compactFrom*16 && w.live == 0 {
			w.entries = nil
		}
	case w.head >= compactFrom && w.head > len(w.entries)/2:
		n := copy(w.entries, w.entries[w.head:])
		w.entries, w.head = w.entries[:n], 0
	}
	if gaps := len(w.entries) - w.head - w.live; w.ordered == 0 && gaps >= compactFrom && gaps > w.live {
		w.sweep()
	}
}

// sweep drops everything that is done.
func (w *Window) sweep() {
	to := w.entries[:0]
	if cap(w.entries) > compactFrom*16 && cap(w.entries) > 4*w.live {
		to = make([]entry, 0, 2*w.live)
	}
	for i := w.head; i < len(w.entries); i++ {
		if w.entries[i].state != done {
			to = append(to, w.entries[i])
		}
	}
	w.entries, w.head = to, 0
}
