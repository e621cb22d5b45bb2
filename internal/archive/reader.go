package archive

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"varve/internal/mq"
	"varve/internal/objstore"
)

// Limits of a Reader that are not configured.
const (
	maxFindRecords  = 1024 // of a FindKey without a Max
	findConcurrency = 8    // files looked into at once
)

// ReaderOptions bound a Reader's memory. The zero value is ready to use.
type ReaderOptions struct {
	OpenFiles   int   // footers kept; default 256
	CursorBytes int64 // memory of idle sequential readers; default 128 MiB
	MaxRead     int   // bytes of one batch at most; default 4 MiB
	// Pace, if set, is called before each page is decoded. It may wait, so that
	// others get the processor.
	Pace func()
	// Failed, if set, hears of a data file that could not be read from an offset
	// on because of what the file is: damaged, cut off or missing.
	Failed func(f DataFile, at int64, err error)
}

// Reader reads all tables of an archive, each in the state that its *Table
// knows. It implements mq.Reader and mq.Finder.
type Reader struct {
	a       *Archive
	rr      RangeReader
	opts    ReaderOptions
	cursors *cursors

	mu    sync.Mutex
	open  map[string]*list.Element // of *openFiles, by object
	order *list.List               // the last used at the front
}

var (
	_ mq.Reader = (*Reader)(nil)
	_ mq.Finder = (*Reader)(nil)
)

// NewReader makes a reader that takes object bytes from rr.
func NewReader(a *Archive, rr RangeReader, o ReaderOptions) *Reader {
	o.OpenFiles = cmp.Or(max(o.OpenFiles, 0), 256)
	o.CursorBytes = cmp.Or(max(o.CursorBytes, 0), defaultCursorBytes)
	o.MaxRead = cmp.Or(max(o.MaxRead, 0), maxReadBytes)
	return &Reader{
		a: a, rr: rr, opts: o, cursors: newCursors(o.CursorBytes, o.Pace),
		open: map[string]*list.Element{}, order: list.New(),
	}
}

// Close lets go of what the reader keeps in memory.
func (r *Reader) Close() error {
	r.mu.Lock()
	r.open, r.order = map[string]*list.Element{}, list.New()
	r.mu.Unlock()
	r.cursors.drop(nil)
	return nil
}

// openFiles are the files of one open object that were asked for, by the row
// where each begins.
type openFiles struct {
	footer *footer
	files  map[int64]*File
}

// drop closes their idle cursors.
func (o *openFiles) drop(c *cursors) {
	for _, f := range o.files {
		c.drop(f)
	}
}

// File gives an open data file, from memory where it was open already. Files
// that share an object share what is kept of it.
func (r *Reader) File(ctx context.Context, f DataFile) (*File, error) {
	r.mu.Lock()
	if el, ok := r.open[f.Name]; ok {
		defer r.mu.Unlock()
		r.order.MoveToFront(el)
		return r.view(el.Value.(*openFiles), f)
	}
	r.mu.Unlock()
	o, err := openFooter(ctx, r.rr, f)
	if err != nil {
		return nil, err
	}
	var closing *openFiles
	r.mu.Lock()
	el, ok := r.open[f.Name]
	if !ok { // nobody else was faster
		el = r.order.PushFront(&openFiles{o, map[int64]*File{}})
		r.open[f.Name] = el
		if r.order.Len() > r.opts.OpenFiles {
			closing = r.order.Remove(r.order.Back()).(*openFiles)
			delete(r.open, closing.footer.name)
		}
	}
	file, err := r.view(el.Value.(*openFiles), f)
	r.mu.Unlock()
	if closing != nil {
		closing.drop(r.cursors)
	}
	return file, err
}

// view gives a file of an open object. The caller has r.mu.
func (r *Reader) view(o *openFiles, f DataFile) (*File, error) {
	if file := o.files[f.Section.Row]; file != nil {
		return file, nil
	}
	file, err := o.footer.file(r.rr, f, r.cursors)
	if err == nil {
		o.files[f.Section.Row] = file
	}
	return file, err
}

// failed tells of an error that is about a data file, and lets go of what is kept
// of it: a good one may be put in its place. It gives the error back.
func (r *Reader) failed(ctx context.Context, f DataFile, at int64, err error) error {
	if err == nil || ctx.Err() != nil || !errors.Is(err, ErrDamaged) && !errors.Is(err, objstore.ErrNotFound) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	r.forget(f)
	if r.opts.Failed != nil && !(errors.Is(err, objstore.ErrNotFound) && r.deleted(ctx, f)) {
		r.opts.Failed(f, at, err)
	}
	return err
}

// deleted reports whether another process took a file out of its table.
func (r *Reader) deleted(ctx context.Context, f DataFile) bool {
	t, err := r.table(ctx, f.Queue.Topic)
	if err != nil {
		return errors.Is(err, mq.ErrNoQueue)
	}
	if _, err := t.Refresh(ctx); err != nil {
		return false
	}
	_, ok := t.index.File(f.Name)
	return !ok
}

func (r *Reader) forget(f DataFile) {
	r.mu.Lock()
	el := r.open[f.Name]
	if el != nil {
		r.order.Remove(el)
		delete(r.open, f.Name)
	}
	r.mu.Unlock()
	if el != nil {
		el.Value.(*openFiles).drop(r.cursors)
	}
}

// Try reads one message of a data file as if nothing was known of the file.
func (r *Reader) Try(ctx context.Context, f DataFile, at int64) error {
	r.forget(f)
	file, err := r.File(ctx, f)
	if err == nil {
		_, err = file.Read(ctx, at, mq.Limit{Messages: 1})
	}
	return err
}

func (r *Reader) table(ctx context.Context, topic string) (*Table, error) {
	t, err := r.a.Table(ctx, topic)
	if errors.Is(err, ErrNoTable) {
		return nil, fmt.Errorf("%w: %w", mq.ErrNoQueue, err)
	}
	return t, err
}

func (r *Reader) queue(ctx context.Context, q mq.Queue) (*Table, mq.Range, error) {
	t, err := r.table(ctx, q.Topic)
	if err != nil {
		return nil, mq.Range{}, fmt.Errorf("archive of %s: %w", q, err)
	}
	rng, ok := t.index.Range(q)
	if !ok {
		return nil, mq.Range{}, fmt.Errorf("archive of %s: %w", q, mq.ErrNoQueue)
	}
	return t, rng, nil
}

// Range implements mq.Reader.
func (r *Reader) Range(ctx context.Context, q mq.Queue) (mq.Range, error) {
	_, rng, err := r.queue(ctx, q)
	return rng, err
}

// Read implements mq.Reader. It goes from file to file until a limit is
// reached.
func (r *Reader) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	b, err := r.read(ctx, q, at, lim)
	if errors.Is(err, objstore.ErrNotFound) && r.overtaken(ctx, q, at) {
		return mq.Batch{}, fmt.Errorf("read archive of %s at %d: %w: deleted meanwhile", q, at, mq.ErrTooLow)
	}
	return b, err
}

// overtaken reports whether an object is gone because another process removed
// its offsets from the table.
func (r *Reader) overtaken(ctx context.Context, q mq.Queue, at int64) bool {
	t, err := r.table(ctx, q.Topic)
	if err != nil {
		return errors.Is(err, mq.ErrNoQueue)
	}
	if _, err := t.Refresh(ctx); err != nil {
		return false
	}
	rng, ok := t.index.Range(q)
	return !ok || at < rng.From
}

func (r *Reader) read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	t, rng, err := r.queue(ctx, q)
	if err != nil {
		return mq.Batch{}, err
	}
	b := mq.Batch{Next: at, Range: rng}
	switch {
	case at < rng.From:
		return mq.Batch{}, fmt.Errorf("read archive of %s at %d of %d to %d: %w", q, at, rng.From, rng.To, mq.ErrTooLow)
	case at > rng.To:
		return mq.Batch{}, fmt.Errorf("read archive of %s at %d of %d to %d: %w", q, at, rng.From, rng.To, mq.ErrTooHigh)
	}
	if lim.Bytes <= 0 || lim.Bytes > r.opts.MaxRead {
		lim.Bytes = r.opts.MaxRead
	}
	for _, f := range t.index.Files(q, mq.Range{From: at, To: rng.To}) {
		file, err := r.File(ctx, f)
		if err != nil {
			return mq.Batch{}, fmt.Errorf("read archive of %s at %d: %w", q, b.Next, r.failed(ctx, f, max(b.Next, f.Offsets.From), err))
		}
		if jump := f.Offsets.From - b.Next; jump > 0 { // a declared gap: within the range there is no other
			b.Next = f.Offsets.From
			if lim.Scan > 0 && jump >= int64(lim.Scan) {
				break
			}
			lim.Scan = max(0, lim.Scan-int(jump))
		}
		from := b.Next
		if err := file.readInto(ctx, lim, &b); err != nil {
			return mq.Batch{}, r.failed(ctx, f, b.Next, err)
		}
		if lim.Scan > 0 {
			if lim.Scan -= int(b.Next - from); lim.Scan <= 0 {
				break
			}
		}
		if b.Next < f.Offsets.To || lim.Messages > 0 && b.Count >= lim.Messages || len(b.Body) > lim.Bytes/2 {
			break
		}
	}
	return b, nil
}

// OffsetAt implements mq.Reader.
func (r *Reader) OffsetAt(ctx context.Context, q mq.Queue, millis int64, bound mq.Bound) (int64, error) {
	t, rng, err := r.queue(ctx, q)
	if err != nil {
		return 0, err
	}
	files := t.index.Files(q, rng)
	if bound == mq.Upper {
		files = slices.Clone(files)
		slices.Reverse(files)
	}
	for _, f := range files {
		if bound == mq.Lower && f.LastStoreMillis < millis || bound == mq.Upper && f.FirstStoreMillis > millis {
			continue
		}
		file, err := r.File(ctx, f)
		var off int64
		ok := false
		if err == nil {
			off, ok, err = file.OffsetAt(ctx, millis, bound)
		}
		if err != nil {
			return 0, fmt.Errorf("search archive of %s by time: %w", q, r.failed(ctx, f, f.Offsets.From, err))
		}
		if ok {
			return off, nil
		}
	}
	if bound == mq.Upper {
		return rng.From, nil
	}
	return rng.To, nil
}

// FindPhysical implements mq.Finder: it asks the tables of all topics, those
// that are open first.
func (r *Reader) FindPhysical(ctx context.Context, broker string, pos int64) (mq.Record, error) {
	rec, err := r.findPhysical(ctx, broker, pos)
	if err != nil {
		return nil, fmt.Errorf("find position %d of %s: %w", pos, broker, err)
	}
	return rec, nil
}

func (r *Reader) findPhysical(ctx context.Context, broker string, pos int64) (mq.Record, error) {
	asked := map[*Table]bool{}
	for _, t := range r.a.opened() {
		asked[t] = true
		if rec, err := r.physicalIn(ctx, t, broker, pos); !errors.Is(err, mq.ErrNotFound) {
			return rec, err
		}
	}
	topics, err := r.a.Topics(ctx)
	if err != nil {
		return nil, err
	}
	var unread error // a table that could hold the record too
	for _, topic := range topics {
		t, err := r.table(ctx, topic)
		if errors.Is(err, mq.ErrNoQueue) || err == nil && asked[t] {
			continue
		}
		if Unreadable(err) {
			unread = err
			continue
		}
		if err != nil {
			return nil, err
		}
		if rec, err := r.physicalIn(ctx, t, broker, pos); !errors.Is(err, mq.ErrNotFound) {
			return rec, err
		}
	}
	if unread != nil {
		return nil, unread
	}
	return nil, mq.ErrNotFound
}

func (r *Reader) physicalIn(ctx context.Context, t *Table, broker string, pos int64) (mq.Record, error) {
	for _, f := range t.index.FilesByPhysical(broker, pos) {
		file, err := r.File(ctx, f)
		var rec mq.Record
		if err == nil {
			rec, err = file.FindPhysical(ctx, pos)
		}
		if !errors.Is(err, mq.ErrNotFound) {
			return rec, r.failed(ctx, f, f.Offsets.From, err)
		}
	}
	return nil, mq.ErrNotFound
}

// FindKey implements mq.Finder.
func (r *Reader) FindKey(ctx context.Context, k mq.KeyQuery) (mq.Batch, error) {
	t, err := r.table(ctx, k.Topic)
	if errors.Is(err, mq.ErrNoQueue) {
		return mq.Batch{}, nil
	}
	if err != nil {
		return mq.Batch{}, fmt.Errorf("find key in archive of %s: %w", k.Topic, err)
	}
	if k.Max <= 0 {
		k.Max = maxFindRecords
	}
	files := slices.DeleteFunc(t.index.All(), func(f DataFile) bool {
		return k.FromMillis != 0 && f.LastStoreMillis < k.FromMillis || k.ToMillis != 0 && f.FirstStoreMillis > k.ToMillis
	})
	slices.SortFunc(files, func(a, b DataFile) int { return cmp.Compare(b.LastStoreMillis, a.LastStoreMillis) })
	var found []mq.Record
	for chunk := range slices.Chunk(files, findConcurrency) {
		if len(found) >= k.Max && chunk[0].LastStoreMillis < found[k.Max-1].StoreTimeMillis() {
			break
		}
		recs, err := r.findIn(ctx, chunk, k)
		if err != nil {
			return mq.Batch{}, fmt.Errorf("find key in archive of %s: %w", k.Topic, err)
		}
		found = append(found, recs...)
		slices.SortStableFunc(found, func(a, b mq.Record) int {
			return cmp.Or(cmp.Compare(b.StoreTimeMillis(), a.StoreTimeMillis()), cmp.Compare(b.PhysicalOffset(), a.PhysicalOffset()))
		})
		found = found[:min(len(found), k.Max)]
	}
	var b mq.Batch
	for _, rec := range found {
		b.Body = append(b.Body, rec...)
		b.Count++
	}
	return b, nil
}

// MayHaveKey reports whether a message of a data file may carry a key, by its
// filters: false is sure.
func (r *Reader) MayHaveKey(ctx context.Context, f DataFile, key string) (bool, error) {
	file, err := r.File(ctx, f)
	if err != nil {
		return false, err
	}
	return file.mayHaveKey(ctx, key)
}

// findIn looks into several files at once.
func (r *Reader) findIn(ctx context.Context, files []DataFile, k mq.KeyQuery) ([]mq.Record, error) {
	found := make([][]mq.Record, len(files))
	g, gctx := errgroup.WithContext(ctx)
	for i, f := range files {
		g.Go(func() error {
			file, err := r.File(gctx, f)
			if err == nil {
				found[i], err = file.records(gctx, k)
			}
			return r.failed(gctx, f, f.Offsets.From, err)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(found...), nil
}

// records gives the file's records that match a query in every respect, the
// newest k.Max of them.
func (f *File) records(ctx context.Context, k mq.KeyQuery) ([]mq.Record, error) {
	limit := k.Max
	k.Max = 0 // rows outside of the times don't count
	offsets, err := f.FindKey(ctx, k)
	if err != nil {
		return nil, err
	}
	var out []mq.Record
	for _, off := range offsets {
		if len(out) >= limit {
			break
		}
		b, err := f.Read(ctx, off, mq.Limit{Messages: 1})
		if err != nil {
			return nil, err
		}
		if rec := mq.Record(b.Body); matches(rec, k) {
			out = append(out, rec)
		}
	}
	return out, nil
}

// matches checks a record itself: columns may hold more than was asked for.
func matches(rec mq.Record, k mq.KeyQuery) bool {
	at := rec.StoreTimeMillis()
	if k.FromMillis != 0 && at < k.FromMillis || k.ToMillis != 0 && at > k.ToMillis {
		return false
	}
	props := rec.Properties()
	if id, ok := mq.Property(props, mq.PropUniqKey); ok && string(id) == k.Key {
		return true
	}
	return !k.Unique && slices.Contains(mq.Keys(props), k.Key)
}
