package broker

import (
	"context"
	"errors"
	"fmt"

	"varve/broker/pop"
	"varve/internal/mq"
)

// placePop sees to it that a window is where the group's progress is; ok is
// false where that can't be told without the archive, or where nothing is to be
// given now. The window is locked.
func (b *Broker) placePop(t *popTurn, w *pop.Window, q mq.Queue, kind int, hot mq.Range, known bool) (ok bool, err error) {
	off, has, reset := b.offsets.Look(w.Group, w.Topic, w.Queue)
	switch {
	case reset:
		if b.resetPop(w, off); w.Gone() {
			return false, nil
		}
	case has && w.Started() && off == w.Committed():
	case has: // new here, or somebody else has set the progress
		w.Start(off)
		b.pops.Changed(w)
	default:
		begun, err := b.beginWindow(t, w, q, kind, hot, known)
		if !begun || err != nil {
			return false, err
		}
	}
	if !known || w.Next() <= hot.To {
		return true, nil
	}
	// The range was asked for before the window was locked: another pop may have given out what came since.
	if hot, known, err = b.hotRange(t.p.ctx, q); err != nil {
		return false, err
	}
	if known && w.Next() > hot.To {
		b.logger.Warn("group's progress is beyond the end of the queue, goes on at the end",
			"group", w.Group, "queue", q.String(), "progress", w.Next(), "end", hot.To)
		w.Start(hot.To)
		b.offsets.Commit(w.Group, w.Topic, w.Queue, hot.To)
		b.pops.Changed(w)
		if err := b.offsets.Flush(); err != nil { // see openPops
			return false, fmt.Errorf("save progress of group %q in %v: %w", w.Group, q, storeError(err))
		}
	}
	return true, nil
}

// resetPop has a window follow a reset. The window's record is written before
// the reset counts as told, so that after a crash one of the two is there.
func (b *Broker) resetPop(w *pop.Window, off int64) {
	w.Start(off)
	b.pops.Changed(w)
	w.Reading = true
	w.Unlock()
	if err := b.pops.Save(false); err != nil {
		b.logger.Error("reset not saved with the group's window; a crash may undo it", "group", w.Group, "topic", w.Topic, "queue", w.Queue, "error", err)
	}
	b.offsets.TakeReset(w.Group, w.Topic, w.Queue)
	w.Lock()
	w.Reading = false
	b.fed(w.Key)
}

// beginWindow finds where a group without progress begins.
func (b *Broker) beginWindow(t *popTurn, w *pop.Window, q mq.Queue, kind int, hot mq.Range, known bool) (begun bool, err error) {
	at := int64(0)
	switch {
	case !known || hot.To == 0 || hot.From == 0 && (t.p.req.FromMin || kind != pop.RetryNone):
	case t.p.req.FromMin || kind != pop.RetryNone: // the archive knows
		t.goCold(w, q, kind, -1, mq.Limit{})
		return false, nil
	default:
		fresh, err := b.fresh(t.p.ctx, q)
		if err != nil {
			return false, err
		}
		if !fresh {
			at = hot.To
		}
	}
	b.startWindow(w, at)
	return true, nil
}

func (b *Broker) startWindow(w *pop.Window, at int64) {
	w.Start(at)
	b.offsets.Commit(w.Group, w.Topic, w.Queue, at)
	b.pops.Changed(w)
}

// popCold goes on with a pop whose queue only the archive can serve, from
// another goroutine: there is a bound on how many read at once and one on how
// many wait.
func (b *Broker) popCold(t *popTurn) {
	started := false
	select {
	case b.coldWaiting <- struct{}{}:
		started = b.spawn(func(ctx context.Context) {
			defer func() { <-b.coldWaiting }()
			both, cancel := context.WithCancel(t.p.ctx)
			defer cancel()
			defer context.AfterFunc(ctx, cancel)()
			moved, err := b.coldTurn(both, t)
			b.fed(t.cold.w.Key)
			switch {
			case err != nil:
				b.answerPop(t.p, PopResult{}, err)
			case len(t.r.Messages) > 0:
				t.finish()
				b.answerPop(t.p, t.r, nil)
			case moved: // look again
				if !b.popWaits.again(t.p) {
					b.answerPop(t.p, PopResult{}, ErrClosed)
				}
			default:
				t.r.Status = PopNone
				b.answerPop(t.p, t.r, nil)
			}
		})
		if !started {
			<-b.coldWaiting
		}
	default:
	}
	if started {
		return
	}
	t.cold.w.Lock()
	t.cold.w.Reading = false
	t.cold.w.Unlock()
	err := fmt.Errorf("%w: %d cold reads wait", ErrBusy, maxColdWaiting)
	if b.closed.Load() {
		err = ErrClosed
	}
	b.answerPop(t.p, PopResult{}, err)
}

// coldTurn reads the turn's cold queue, or finds its beginning. moved says that
// it found no message and another look may.
func (b *Broker) coldTurn(ctx context.Context, t *popTurn) (moved bool, err error) {
	c := t.cold
	batch, whole, err := b.readPop(ctx, c)
	c.w.Lock()
	defer c.w.Unlock()
	c.w.Reading = false
	switch {
	case err != nil:
		return false, err
	case c.w.Gone() || c.at >= 0 && (!c.w.Started() || c.w.Next() != c.at):
		return true, nil // reset meanwhile
	case c.at < 0:
		b.startWindow(c.w, whole.From)
		return true, nil
	case c.at < whole.From: // retention took it
		c.w.Skip(whole.From)
		b.pops.Changed(c.w)
		return true, nil
	}
	t.now = b.clock().UnixMilli()
	t.due = t.now + t.r.InvisibleMillis
	t.r.PopMillis = t.now
	b.take(t, c.w, c.kind, batch)
	t.r.Rest += max(0, whole.To-c.w.Next())
	return c.w.Next() != c.at, nil
}

func (b *Broker) readPop(ctx context.Context, c *coldPop) (batch mq.Batch, whole mq.Range, err error) {
	select {
	case b.coldReads <- struct{}{}:
		defer func() { <-b.coldReads }()
	case <-ctx.Done():
		return batch, whole, fmt.Errorf("pop from %v: %w", c.q, ctx.Err())
	}
	whole, err = b.reader.Range(ctx, c.q)
	if err != nil && !errors.Is(err, mq.ErrNoQueue) {
		return batch, whole, fmt.Errorf("range of %v: %w", c.q, err)
	}
	if c.at < whole.From || c.at >= whole.To {
		return batch, whole, nil
	}
	b.stats.coldReads.Add(1)
	batch, err = b.reader.Read(ctx, c.q, c.at, c.limit)
	if err != nil && !errors.Is(err, mq.ErrTooLow) {
		return batch, whole, fmt.Errorf("cold pop from %v at %d: %w", c.q, c.at, err)
	}
	if err != nil { // retention took it since
		batch, whole.From = mq.Batch{}, c.at
		batch.Next = c.at
	}
	return batch, whole, nil
}

// popAgain gives an ordered batch again whose time is over, or that its
// attempt asks for; done says that the queue gives nothing else now. The window
// is locked.
func (b *Broker) popAgain(t *popTurn, w *pop.Window, q mq.Queue) (done bool, err error) {
	offs := w.Live(1)
	if len(offs) == 0 {
		return false, nil
	}
	want := t.want - len(t.r.Messages)
	if t.enough() || w.Blocked(t.now, t.p.req.AttemptID) {
		return true, nil
	}
	same := t.p.req.AttemptID != "" && t.p.req.AttemptID == w.Attempt()
	if !same {
		w.Rewind()
	}
	for i, off := range w.Live(want) {
		if i > 0 && t.enough() {
			break
		}
		batch, err := b.reader.Read(t.p.ctx, q, off, mq.Limit{Messages: 1, Scan: 1})
		if errors.Is(err, mq.ErrTooLow) || err == nil && batch.Count == 0 {
			w.Drop(off)
			continue
		}
		if err != nil {
			if i > 0 { // what was given already is answered
				break
			}
			return true, fmt.Errorf("pop from %v again at %d: %w", q, off, err)
		}
		rec := mq.Record(batch.Body)
		before := w.Again(off, t.now, t.due, same)
		t.add(b, w, pop.RetryNone, rec, w.PopOf(off), before)
		t.bytes -= len(batch.Body)
		t.parts = append(t.parts, batch)
	}
	w.SetAttempt(t.p.req.AttemptID)
	b.pops.Changed(w)
	return true, nil
}
