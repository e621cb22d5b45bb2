package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"varve/broker/topic"
	"varve/internal/archive"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

const (
	// emptyPulls is after how many pulls without a message a hole is believed that
	// the broker steps over.
	emptyPulls = 3
	emptyWait  = 200 * time.Millisecond
	// checkedTail is how much of an uploaded file's end is read back.
	checkedTail = 64 << 10
)

// topicRun brings in one topic.
type topicRun struct {
	im    *importer
	s     source
	table *archive.Table
	epoch int64

	mu      sync.Mutex
	waiting []*ready
	leading bool // somebody commits
	// trails are gaps at the ends of queues: no file follows to declare them.
	trails map[mq.Queue]mq.Range
}

// ready is a data file that is to be committed.
type ready struct {
	file archive.DataFile
	gap  mq.Range
	done chan error
}

// topic brings in what the broker has of a topic and the archive hasn't.
func (im *importer) topic(ctx context.Context, s source, c topic.Config) (Topic, error) {
	out := Topic{Name: c.Name, begins: map[int32]int64{}}
	bounds := map[mq.Queue]mq.Range{}
	filled := false
	for id := range c.Queues() {
		q := mq.Queue{Broker: s.name, Topic: c.Name, ID: id}
		err := im.persist(ctx, "ask for a queue's range", func(ctx context.Context) error {
			r, err := s.bounds(ctx, q)
			bounds[q] = r
			return err
		})
		if err != nil {
			return out, err
		}
		filled = filled || bounds[q].To > 0
	}
	if !filled {
		return out, nil
	}
	t := &topicRun{im: im, s: s, trails: map[mq.Queue]mq.Range{}}
	if err := im.persist(ctx, "take the table", t.take(c.Name)); err != nil {
		return out, err
	}
	g, gctx := errgroup.WithContext(ctx)
	for q, r := range bounds {
		if r.To == 0 {
			continue
		}
		select {
		case im.slots <- struct{}{}:
		case <-gctx.Done():
			continue
		}
		g.Go(func() error {
			defer func() { <-im.slots }()
			if err := t.queue(gctx, q, r); err != nil {
				return fmt.Errorf("queue %d: %w", q.ID, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return out, err
	}
	if err := ctx.Err(); err != nil {
		return out, err
	}
	return t.verify(ctx, out, bounds)
}

// take opens the topic's table and shuts out whoever wrote to it before.
func (t *topicRun) take(name string) func(ctx context.Context) error {
	return func(ctx context.Context) (err error) {
		if t.table, err = t.im.a.CreateTable(ctx, name); err != nil {
			return err
		}
		if _, err = t.table.Refresh(ctx); err != nil {
			return err
		}
		t.epoch = t.table.Snapshot().Epoch[t.s.name] + 1
		return t.table.Fence(ctx, t.s.name, t.epoch)
	}
}

// begin gives where a queue goes on, and the gap before that.
func (t *topicRun) begin(ctx context.Context, q mq.Queue, r mq.Range) (at int64, gap mq.Range, err error) {
	next, known := t.table.Snapshot().Next[q]
	at = r.From
	switch {
	case known && r.To < next:
		return 0, gap, fmt.Errorf("%w: it ends at offset %d and the archive has it up to %d: it is another queue", errBad, r.To, next)
	case known:
		at = max(at, next)
		if err := t.same(ctx, q, r, next); err != nil {
			return 0, gap, err
		}
	case !t.im.From.IsZero():
		from, err := t.s.offset(ctx, wire.SearchOffsetByTimestamp, q, "timestamp", fmt.Sprint(t.im.From.UnixMilli()))
		if err != nil {
			return 0, gap, err
		}
		at = min(max(at, from), r.To)
	}
	if at > next {
		gap = mq.Range{From: next, To: at}
	}
	return at, gap, nil
}

// same compares the last message that the archive has with the broker's.
func (t *topicRun) same(ctx context.Context, q mq.Queue, r mq.Range, next int64) error {
	files := t.table.Index().Files(q, mq.Range{From: next - 1, To: next})
	if len(files) == 0 || next-1 < r.From {
		return nil
	}
	records, _, err := t.s.pull(ctx, q, next-1, 1)
	if err != nil || len(records) == 0 {
		return err
	}
	rec, _, err := mq.NextRecord(records)
	if err != nil {
		return err
	}
	if last := files[len(files)-1].LastPhysical; rec.QueueOffset() == next-1 && rec.PhysicalOffset() != last {
		return fmt.Errorf("%w: its message at offset %d has position %d, in the archive %d: it is another cluster's, or the topic was made anew", errBad, next-1, rec.PhysicalOffset(), last)
	}
	return nil
}

// queue brings a queue in, up to where it ended when the run began.
func (t *topicRun) queue(ctx context.Context, q mq.Queue, r mq.Range) error {
	var at int64
	var gap mq.Range
	err := t.im.persist(ctx, "find where it goes on", func(ctx context.Context) (err error) {
		at, gap, err = t.begin(ctx, q, r)
		return err
	})
	for err == nil && at < r.To {
		at, gap, err = t.file(ctx, q, at, r.To, gap)
	}
	if err == nil && !gap.Empty() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.trails[q] = gap
	}
	return err
}

// file makes and commits one data file from an offset on, and gives where the
// next one begins and the gap before it.
func (t *topicRun) file(ctx context.Context, q mq.Queue, at, end int64, gap mq.Range) (next int64, after mq.Range, err error) {
	tmp, err := os.CreateTemp(t.im.Dir, "varve-import-*.parquet")
	if err != nil {
		return at, gap, fmt.Errorf("%w: make a file to upload: %w", errBad, err)
	}
	defer func() { _ = errors.Join(tmp.Close(), os.Remove(tmp.Name())) }()
	w := archive.NewFileWriter(tmp, q, archive.FileOptions{Epoch: t.epoch})
	next, after, rows, err := t.fill(ctx, w, q, at, end)
	if err != nil {
		return at, gap, err
	}
	if rows == 0 { // two gaps with nothing between are one
		if !gap.Empty() {
			after.From = gap.From
		}
		return next, after, nil
	}
	file, err := w.Close()
	if err != nil {
		return at, gap, fmt.Errorf("%w: %w", errBad, err)
	}
	file.Name = archive.FileName(q, t.table.Root(), file.Offsets.From, file.Rows, t.epoch)
	if err := t.im.persist(ctx, "upload "+file.Name, func(ctx context.Context) error { return t.upload(ctx, tmp, file) }); err != nil {
		return at, gap, err
	}
	return next, after, t.commit(ctx, &ready{file: file, gap: gap, done: make(chan error, 1)})
}

// fill pulls messages into a file until it is full, the queue's end, or a hole.
func (t *topicRun) fill(ctx context.Context, w *archive.FileWriter, q mq.Queue, at, end int64) (next int64, gap mq.Range, rows int64, err error) {
	size, empty := int64(0), 0
	for at < end && size < t.im.FileBytes {
		var records []byte
		var step int64
		err := t.im.persist(ctx, fmt.Sprintf("pull %v", q), func(ctx context.Context) (err error) {
			records, step, err = t.s.pull(ctx, q, at, int(min(pullMessages, end-at)))
			return err
		})
		if err != nil {
			return at, gap, rows, err
		}
		if len(records) == 0 {
			if step, err = t.hole(ctx, q, at, step, empty); err != nil {
				return at, gap, rows, err
			}
			if empty++; step > at {
				return min(step, end), mq.Range{From: at, To: min(step, end)}, rows, nil
			}
			continue
		}
		empty = 0
		from := at
		for rest := records; len(rest) > 0 && at < end; {
			var rec mq.Record
			if rec, rest, err = mq.NextRecord(rest); err == nil {
				err = rec.Check(true)
			}
			if err != nil {
				return at, gap, rows, fmt.Errorf("%w: message at offset %d: %w", errBad, at, err)
			}
			off := rec.QueueOffset()
			if off < at {
				continue
			}
			if off > at {
				t.im.messages.Add(at - from)
				return off, mq.Range{From: at, To: off}, rows, nil
			}
			if err := w.Add(rec); err != nil {
				return at, gap, rows, fmt.Errorf("%w: %w", errBad, err)
			}
			at, rows, size = at+1, rows+1, size+int64(len(rec))
		}
		t.im.messages.Add(at - from)
		t.im.bytes.Add(int64(len(records)))
		if err := t.im.pace.wait(ctx, len(records)); err != nil {
			return at, gap, rows, err
		}
	}
	return at, gap, rows, nil
}

// hole finds out why there is no message at an offset below the queue's end: the
// broker has let it go, or steps over it time and again.
func (t *topicRun) hole(ctx context.Context, q mq.Queue, at, step int64, tries int) (next int64, err error) {
	var r mq.Range
	err = t.im.persist(ctx, "ask for a queue's range", func(ctx context.Context) (err error) {
		r, err = t.s.bounds(ctx, q)
		return err
	})
	switch {
	case err != nil:
		return at, err
	case r.To <= at:
		return at, fmt.Errorf("%w: %v ends at offset %d now, and went beyond %d: it was made anew", errBad, q, r.To, at)
	case r.From > at:
		t.im.Logger.Warn("messages were deleted before they could be imported", slog.Any("queue", q), slog.Int64("from", at), slog.Int64("to", r.From))
		return r.From, nil
	case tries >= emptyPulls && step > at:
		t.im.Logger.Warn("the broker has no messages between", slog.Any("queue", q), slog.Int64("from", at), slog.Int64("to", step))
		return step, nil
	}
	return at, pause(ctx, emptyWait)
}

// upload puts a file into the bucket.
func (t *topicRun) upload(ctx context.Context, tmp *os.File, f archive.DataFile) error {
	return t.im.a.Upload(ctx, f, ownFile{tmp}, archive.UploadOptions{Tail: checkedTail})
}

// ownFile is a file of this machine: that it can't be read is not the bucket's
// fault, and not tried again.
type ownFile struct{ *os.File }

// ReadAt implements io.ReaderAt.
func (f ownFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errBad, err)
	}
	return n, err
}

// commit has a file committed, with those of other queues that wait.
func (t *topicRun) commit(ctx context.Context, r *ready) error {
	t.mu.Lock()
	t.waiting = append(t.waiting, r)
	lead := !t.leading
	t.leading = true
	t.mu.Unlock()
	for lead {
		t.mu.Lock()
		batch := t.waiting
		t.waiting = nil
		if lead = len(batch) > 0; !lead {
			t.leading = false
		}
		t.mu.Unlock()
		if !lead {
			break
		}
		err := t.append(ctx, batch)
		for _, b := range batch {
			b.done <- err
		}
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *topicRun) append(ctx context.Context, batch []*ready) error {
	c := archive.Commit{ID: "import-" + uuid.NewString(), Broker: t.s.name, Epoch: t.epoch}
	for _, r := range batch {
		c.Files = append(c.Files, r.file)
		if !r.gap.Empty() {
			c.Gaps = append(c.Gaps, archive.Gap{Queue: r.file.Queue, Offsets: r.gap})
		}
	}
	return t.im.persist(ctx, fmt.Sprintf("commit %d files", len(batch)), func(ctx context.Context) error {
		_, err := t.table.Append(ctx, c)
		return err
	})
}

// verify compares what the archive has with what the broker had, and counts.
func (t *topicRun) verify(ctx context.Context, out Topic, bounds map[mq.Queue]mq.Range) (Topic, error) {
	if _, err := t.table.Refresh(ctx); err != nil {
		return out, err
	}
	snap := t.table.Snapshot()
	for q, r := range bounds {
		if r.To == 0 {
			continue
		}
		out.Queues++
		next, trail := snap.Next[q], t.trails[q]
		want := r.To
		if !trail.Empty() {
			want, out.begins[q.ID] = trail.From, trail.To
		}
		if next < want {
			return out, fmt.Errorf("%w: %v is archived to %d, the broker had it to %d", errBad, q, next, want)
		}
		var rows, missing int64
		if have, ok := t.table.QueueRange(q); ok {
			for _, f := range t.table.Index().Files(q, have) {
				rows += f.Rows
			}
		}
		for _, g := range snap.Gaps[q] {
			missing += g.To - g.From
		}
		if rows+missing != next {
			return out, fmt.Errorf("%w: %v has %d messages and gaps of %d in the archive for its offsets up to %d", errBad, q, rows, missing, next)
		}
		out.Messages, out.Missing = out.Messages+rows, out.Missing+missing+trail.Len()
		if now, err := t.s.bounds(ctx, q); err == nil {
			out.Behind += max(0, now.To-max(next, trail.To))
		}
	}
	return out, nil
}
