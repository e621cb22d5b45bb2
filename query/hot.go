package query

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/typed"
	"varve/query/wire"
)

// hotReadBytes is how much of the hot log is read at a time.
const hotReadBytes = 1 << 20

// hotFiles writes what the archive does not have yet, one file a queue.
func (q *run) hotFiles(topic string, next map[mq.Queue]int64, b wire.Bounds, refreshed bool, columns *typed.Layout) ([]string, error) {
	var out []string
	for _, queue := range q.hotQueues(topic) {
		if !b.NeedsQueue(queue.Broker, queue.ID) {
			continue
		}
		r, err := q.hotRange(queue, next, b, refreshed)
		if err != nil {
			return nil, err
		}
		if r.Empty() {
			continue
		}
		name, err := q.writeHot(queue, r, columns)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

// hotRange is the part of a queue that the query needs from the hot log.
func (q *run) hotRange(queue mq.Queue, next map[mq.Queue]int64, b wire.Bounds, refreshed bool) (mq.Range, error) {
	hot := q.e.deps.Hot
	held, err := hot.Range(q.ctx, queue)
	if errors.Is(err, mq.ErrNoQueue) {
		return mq.Range{}, nil
	}
	if err != nil {
		return mq.Range{}, storageError("reading "+queue.String(), err)
	}
	r := held
	border := next[queue] // 0 for a queue that the archive doesn't know
	if held.From > border && !refreshed {
		return mq.Range{}, errMoved
	}
	// Still above a fresh border: what is between was given up by the user's own
	// trim policy and is nowhere, unless it was archived once.
	if mark := hot.Archived(queue); held.From > border && mark > border {
		return mq.Range{}, storageError("reading "+queue.String(), fmt.Errorf(
			"the archive ends at offset %d, but was archived up to %d, and the hot log begins at %d: the archive is older than the log, or another one", border, mark, held.From))
	}
	r.From = max(held.From, border)
	r.From = max(r.From, b.Offset.Low)
	if b.Offset.High < math.MaxInt64 {
		r.To = min(r.To, b.Offset.High+1)
	}
	if r.Empty() {
		return r, nil
	}
	if b.StoreMillis.Low > math.MinInt64 {
		at, err := hot.OffsetAt(q.ctx, queue, b.StoreMillis.Low, mq.Lower)
		if err != nil {
			return mq.Range{}, q.hotError(queue, err)
		}
		r.From = max(r.From, at)
	}
	if b.StoreMillis.High < math.MaxInt64 {
		at, err := hot.OffsetAt(q.ctx, queue, b.StoreMillis.High, mq.Upper)
		if err != nil {
			return mq.Range{}, q.hotError(queue, err)
		}
		r.To = min(r.To, at+1)
	}
	return r, nil
}

// hotError makes errMoved of what a trim or a deletion of the topic does to a
// range that was right when it was asked for: a topic that took the deleted one's
// name begins anew, so the offset may be beyond its end.
func (q *run) hotError(queue mq.Queue, err error) error {
	for _, moved := range []error{mq.ErrTooLow, mq.ErrNoQueue, mq.ErrTooHigh} {
		if errors.Is(err, moved) {
			return errMoved
		}
	}
	return storageError("reading "+queue.String(), err)
}

// writeHot writes a range of a queue as one file like the archive's.
func (q *run) writeHot(queue mq.Queue, r mq.Range, columns *typed.Layout) (name string, err error) {
	name = q.newFile("hot")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", storageError("writing the newest messages of "+queue.String(), err)
	}
	buf := bufio.NewWriterSize(f, hotReadBytes)
	w := archive.NewFileWriter(buf, queue, archive.FileOptions{SpillDir: q.dir, Typed: columns})
	err = q.copyHot(w, queue, r)
	var d archive.DataFile
	if err == nil {
		d, err = w.Close()
	} else {
		w.Abort()
	}
	if err = errors.Join(err, buf.Flush(), f.Close()); err != nil {
		return "", fmt.Errorf("writing the newest messages of %s: %w", queue, err)
	}
	q.stats.HotRows += d.Rows
	return name, nil
}

func (q *run) copyHot(w *archive.FileWriter, queue mq.Queue, r mq.Range) error {
	for at := r.From; at < r.To; {
		batch, err := q.e.deps.Hot.Read(q.ctx, queue, at, mq.Limit{Bytes: hotReadBytes})
		if err != nil {
			return q.hotError(queue, err)
		}
		if batch.Next <= at {
			return errMoved // its end was r.To or more: this is another topic's queue
		}
		for rec := range mq.Records(batch.Body) {
			if rec.QueueOffset() >= r.To {
				break
			}
			if err := w.Add(rec); err != nil {
				return err
			}
			q.stats.HotBytes += int64(len(rec))
		}
		if limit := q.e.cfg.MaxHotBytes; q.stats.HotBytes > limit {
			return &Error{Kind: wire.TooLarge, Message: fmt.Sprintf("the query needs more than %d bytes of messages that are not archived yet, which is the limit; narrow it by store_time, queue_id or queue_offset, or wait for the archive to catch up", limit)}
		}
		at = batch.Next
	}
	return nil
}
