package apply

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/typed"
)

const (
	// burst is what may be read at once.
	burst = 4 << 20
	// slowest is the rate in bytes a second below which an upload counts as stuck.
	slowest = 128 << 10
)

// Config sets up an Applier.
type Config struct {
	Broker string // whose files
	Dir    string // for temporary files
	// BytesPerSecond bounds the records that are read; 16 MiB.
	BytesPerSecond int64
	CallTimeout    time.Duration // of a call to the bucket, bytes not counted; 1 min
	// OnCommit hears of every commit.
	OnCommit func(topic string, s archive.Snapshot)
	Logger   *slog.Logger
}

// Applier rewrites files. Its methods are not for two goroutines at once.
type Applier struct {
	cfg     Config
	archive *archive.Archive
	limit   *rate.Limiter
}

// New makes an Applier.
func New(cfg Config, a *archive.Archive) *Applier {
	if cfg.BytesPerSecond <= 0 {
		cfg.BytesPerSecond = 16 << 20
	}
	if cfg.CallTimeout <= 0 {
		cfg.CallTimeout = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Applier{cfg: cfg, archive: a, limit: rate.NewLimiter(rate.Limit(cfg.BytesPerSecond), burst)}
}

// Progress is how far a run is.
type Progress struct {
	Files   int // of the topic and the broker group
	Done    int // that have the columns, or were left: Skipped of them
	Skipped int
	Left    []Left // the first of those that were left
}

// Left is a file that has no columns of the schema, and why.
type Left struct {
	Object string
	Queue  mq.Queue
	Range  mq.Range // of offsets
	Why    string
}

const (
	// mostRounds bounds how often what others changed meanwhile is looked at again.
	mostRounds = 16
	// mostLeft bounds the files that are named.
	mostLeft = 128
)

// Apply gives a topic's files the columns of a layout, those too that come
// meanwhile without them. One that is damaged is left, and the others go on. After
// an error the rest is left to another run.
func (a *Applier) Apply(ctx context.Context, topic string, l *typed.Layout, note func(Progress)) error {
	fail := func(err error) error { return fmt.Errorf("apply the schema of %s: %w", topic, err) }
	t, err := a.archive.Table(ctx, topic)
	if errors.Is(err, archive.ErrNoTable) {
		note(Progress{})
		return nil
	}
	if err == nil {
		_, err = t.Refresh(ctx)
	}
	if err == nil {
		err = t.Evolve(ctx, l)
	}
	if err != nil {
		return fail(err)
	}
	r := pass{Applier: a, table: t, layout: l, note: note, seen: map[string]bool{}}
	for range mostRounds {
		again, err := r.round(ctx)
		if err == nil && again {
			_, err = t.Refresh(ctx)
		}
		if err != nil {
			return fail(err)
		}
		if !again {
			return nil
		}
	}
	return fail(fmt.Errorf("files were replaced faster than they were read, %d times; the last: %s", mostRounds, r.lost))
}

// pass is one Apply.
type pass struct {
	*Applier
	table  *archive.Table
	layout *typed.Layout
	note   func(Progress)
	seen   map[string]bool // objects that have the columns, or are left
	p      Progress
	lost   string // the object that others replaced last
}

// round goes through the table's objects that were not seen yet, and says whether
// others changed some meanwhile.
func (r *pass) round(ctx context.Context) (again bool, err error) {
	var objects [][]archive.DataFile
	for _, object := range archive.ByObject(r.table.Index().All()) {
		if f := object[0]; f.Queue.Broker == r.cfg.Broker && !r.seen[f.Name] {
			objects = append(objects, object)
		}
	}
	r.p.Files = r.p.Done + len(objects)
	r.note(r.p)
	for _, object := range objects {
		name := object[0].Name
		made, err := r.object(ctx, r.table, object, r.layout)
		gone := false
		if errors.Is(err, objstore.ErrNotFound) {
			if _, rerr := r.table.Refresh(ctx); rerr != nil {
				return false, rerr
			}
			gone = len(r.table.Index().Object(name)) == 0
		}
		which := (*archive.ObjectError)(nil)
		switch {
		case errors.Is(err, archive.ErrReplaced), gone:
			again, r.lost = true, name
			continue
		case errors.Is(err, objstore.ErrNotFound), errors.Is(err, archive.ErrDamaged) && errors.As(err, &which) && which.Name == name:
			r.leave(object, err)
		case err != nil:
			return false, err
		}
		r.seen[name], r.seen[made] = true, true
		r.p.Done++
		r.note(r.p)
	}
	return again, nil
}

// leave notes an object that can't be read.
func (r *pass) leave(object []archive.DataFile, err error) {
	r.cfg.Logger.Warn("file left without the columns of the schema", slog.String("object", object[0].Name), slog.Any("err", err))
	r.p.Skipped++
	left := slices.Clone(r.p.Left) // who was told has the other
	for _, f := range object {
		if len(left) < mostLeft {
			left = append(left, Left{f.Name, f.Queue, f.Offsets, err.Error()})
		}
	}
	r.p.Left = left
}

func (a *Applier) pace(ctx context.Context) func(int) error {
	return func(n int) error {
		for n > 0 {
			step := min(n, burst)
			if err := a.limit.WaitN(ctx, step); err != nil {
				return err
			}
			n -= step
		}
		return nil
	}
}

// object rewrites one object, unless it has the columns, and gives the name of
// that which has them.
func (a *Applier) object(ctx context.Context, t *archive.Table, files []archive.DataFile, l *typed.Layout) (string, error) {
	bucket, first := a.archive.Bucket(), files[0]
	opened, err := archive.OpenFile(ctx, bucket, first)
	if err != nil {
		return "", err
	}
	have, err := opened.TypedColumns()
	if err != nil || typed.SameColumns(have, l.Columns) {
		return first.Name, err
	}
	tmp, err := os.CreateTemp(a.cfg.Dir, "apply-*.parquet")
	if err != nil {
		return "", fmt.Errorf("make a temporary file: %w", err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	buf := bufio.NewWriterSize(tmp, 256<<10)
	fresh, err := a.retype(ctx, buf, t, files, l)
	if err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return "", err
	}
	if err := a.upload(ctx, tmp, fresh[0].Object()); err != nil {
		return "", err
	}
	if err := archive.SameRows(ctx, bucket, bucket, files, fresh, a.pace(ctx)); err != nil {
		return "", err
	}
	snap, err := t.Replace(ctx, archive.Replacement{
		ID: "apply-" + uuid.NewString(), Old: []string{first.Name}, New: fresh, Op: archive.ReplaceFiles,
		Reason: fmt.Sprintf("columns of schema version %d", l.Version),
	})
	if err == nil && a.cfg.OnCommit != nil {
		a.cfg.OnCommit(t.Topic(), snap)
	}
	return fresh[0].Name, err
}

// retype writes an object's files once more, and names them.
func (a *Applier) retype(ctx context.Context, w io.Writer, t *archive.Table, files []archive.DataFile, l *typed.Layout) ([]archive.DataFile, error) {
	first := files[0]
	if !first.Shared() {
		fresh, err := archive.Retype(ctx, w, a.archive.Bucket(), first, l, a.cfg.Dir, a.pace(ctx))
		fresh.Name = archive.FileName(first.Queue, t.Root(), fresh.Offsets.From, fresh.Rows, first.Epoch)
		return []archive.DataFile{fresh}, err
	}
	fresh, err := archive.RetypeShared(ctx, w, a.archive.Bucket(), files, l, a.cfg.Dir, a.pace(ctx))
	if err != nil {
		return nil, err
	}
	since := first.FirstStoreMillis
	for _, f := range files {
		since = min(since, f.FirstStoreMillis)
	}
	name := archive.SharedName(first.Queue.Broker, t.Root(), since, first.Section.Rows, first.Epoch)
	for i := range fresh {
		fresh[i].Name = name
	}
	return fresh, nil
}

func (a *Applier) upload(ctx context.Context, tmp *os.File, f archive.DataFile) error {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.CallTimeout+time.Duration(f.Bytes/slowest+1)*time.Second)
	defer cancel()
	return a.archive.Upload(ctx, f, tmp, archive.UploadOptions{}) // every row of it is compared next
}
