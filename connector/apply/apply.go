package apply

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"varve/internal/archive"
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
	return &Applier{cfg: cfg, archive: a, limit: rate.NewLimiter(rate.Limit(cfg.BytesPerSecond), burst)}
}

// Progress is how far a run is.
type Progress struct {
	Files   int // of the topic and the broker group
	Done    int // that have the columns, or never will: Skipped of them
	Skipped int // that changed meanwhile or have erased bodies
}

// Apply gives a topic's files the columns of a layout. After an error the rest
// is left to another run.
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
	var files []archive.DataFile
	for _, f := range t.Index().All() {
		if f.Queue.Broker == a.cfg.Broker {
			files = append(files, f)
		}
	}
	p := Progress{Files: len(files)}
	note(p)
	for _, f := range files {
		switch err := a.file(ctx, t, f, l); {
		case errors.Is(err, archive.ErrReplaced), errors.Is(err, archive.ErrErased), errors.Is(err, errShared):
			p.Skipped++
			a.cfg.Logger.Info("file left without the columns of the schema", slog.String("object", f.Name), slog.Any("err", err))
		case err != nil:
			return fail(err)
		}
		p.Done++
		note(p)
	}
	return nil
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

// errShared says that a file shares an object with those of other queues.
var errShared = errors.New("objects that several queues share have no typed columns")

// file rewrites one file, unless it has the columns.
func (a *Applier) file(ctx context.Context, t *archive.Table, f archive.DataFile, l *typed.Layout) error {
	if f.Shared() {
		return fmt.Errorf("%w: %s", errShared, f.Name)
	}
	bucket := a.archive.Bucket()
	file, err := archive.OpenFile(ctx, bucket, f)
	if errors.Is(err, objstore.ErrNotFound) {
		return fmt.Errorf("%w: %s", archive.ErrReplaced, f.Name)
	}
	if err != nil {
		return err
	}
	have, err := file.TypedColumns()
	if err != nil || typed.SameColumns(have, l.Columns) {
		return err
	}
	tmp, err := os.CreateTemp(a.cfg.Dir, "apply-*.parquet")
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	buf := bufio.NewWriterSize(tmp, 256<<10)
	fresh, err := archive.Retype(ctx, buf, bucket, f, l, a.cfg.Dir, a.pace(ctx))
	if err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return err
	}
	fresh.Name = archive.FileName(f.Queue, t.Root(), fresh.Offsets.From, fresh.Rows, f.Epoch)
	if err := a.upload(ctx, tmp, fresh); err != nil {
		return err
	}
	if err := archive.SameRows(ctx, bucket, bucket, f, fresh, a.pace(ctx)); err != nil {
		return err
	}
	snap, err := t.Replace(ctx, archive.Replacement{
		ID: "apply-" + uuid.NewString(), Old: []string{f.Name}, New: []archive.DataFile{fresh}, Op: archive.ReplaceFiles,
		Reason: fmt.Sprintf("columns of schema version %d", l.Version),
	})
	if err == nil && a.cfg.OnCommit != nil {
		a.cfg.OnCommit(t.Topic(), snap)
	}
	return err
}

func (a *Applier) upload(ctx context.Context, tmp *os.File, f archive.DataFile) error {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.CallTimeout+time.Duration(f.Bytes/slowest+1)*time.Second)
	defer cancel()
	return a.archive.Upload(ctx, f, tmp, archive.UploadOptions{}) // every row of it is compared next
}
