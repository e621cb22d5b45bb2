package compact

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"varve/internal/archive"
	"varve/internal/objstore"
)

const (
	// checkedTail is how much of an uploaded file's end is read back: the footer
	// and the page indexes.
	checkedTail = 256 << 10
	// samples are places of an uploaded file that are read back beside its end.
	samples = 16
	// slowest is the rate in bytes a second below which a transfer counts as
	// stuck, where the bandwidth has no bound.
	slowest = 128 << 10
	// pieceOfWork is after how much of it the processor is given to others.
	pieceOfWork = 2 * time.Millisecond
)

// made is what a merge has made: an object with a file, or some with several.
type made struct {
	files []archive.DataFile
	stats archive.MergeStats
}

func (m made) bytes() (n int64) {
	for _, f := range archive.Objects(m.files) {
		n += f.ObjectBytes()
	}
	return n
}

// merge has objects made of files and puts them in their place.
func (c *Compactor) merge(ctx context.Context, t *archive.Table, files []archive.DataFile, write func(*folder) (made, error)) (made, error) {
	if err := c.archive.Check(ctx); err != nil {
		return made{}, err
	}
	work, err := os.MkdirTemp(c.cfg.Dir, "merge-")
	if err != nil {
		return made{}, fmt.Errorf("make a directory for a merge: %w", err)
	}
	defer os.RemoveAll(work)
	local := &folder{dir: work, files: map[string]*os.File{}}
	defer local.close()
	for _, f := range archive.Objects(files) {
		if err := c.fetch(ctx, f.Object(), local); err != nil {
			return made{}, &archive.ObjectError{Name: f.Name, Err: err}
		}
	}
	m, err := write(local)
	if err != nil {
		return made{}, err
	}
	for _, f := range archive.Objects(m.files) {
		if err := c.upload(ctx, f.Object(), local); err != nil {
			return made{}, err
		}
	}
	return m, c.commit(ctx, t, files, m.files)
}

// fetch copies a file of the bucket to the disk.
func (c *Compactor) fetch(ctx context.Context, f archive.DataFile, to *folder) error {
	ctx, cancel := c.within(ctx, f.Bytes)
	defer cancel()
	src, err := c.archive.Bucket().Get(ctx, f.Name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := to.create(f.Name)
	if err != nil {
		return err
	}
	n, err := io.Copy(dst, &paced{ctx, io.LimitReader(src, f.Bytes+1), c.limit})
	switch {
	case err != nil:
		return fmt.Errorf("fetch %s: %w", f.Name, err)
	case n != f.Bytes:
		return fmt.Errorf("%w: %s has %d bytes, the table says %d", archive.ErrDamaged, f.Name, n, f.Bytes)
	}
	return nil
}

// within bounds the time of a transfer.
func (c *Compactor) within(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	per := int64(slowest)
	if c.cfg.BytesPerSecond > 0 {
		per = min(per, max(1, c.cfg.BytesPerSecond/4))
	}
	return context.WithTimeout(ctx, c.cfg.CallTimeout+time.Duration(size/per+1)*time.Second)
}

// write makes the merged file on the disk and checks every byte of it.
func (c *Compactor) write(ctx context.Context, t *archive.Table, files []archive.DataFile, local *folder) (made, error) {
	out, err := local.create("merged")
	if err != nil {
		return made{}, err
	}
	buf := bufio.NewWriterSize(out, 256<<10)
	m, err := archive.MergeFiles(ctx, buf, local, files, archive.MergeOptions{SpillDir: local.dir, Pace: c.pacer(ctx)})
	if err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return made{}, err
	}
	f := &m.File
	f.Name = archive.FileName(f.Queue, t.Root(), f.Offsets.From, f.Rows, f.Epoch)
	local.rename("merged", f.Name)
	if err := m.Check(ctx, local); err != nil {
		return made{}, fmt.Errorf("check the merged file: %w", err)
	}
	return made{[]archive.DataFile{m.File}, m.Stats}, nil
}

// upload puts the file into the bucket.
func (c *Compactor) upload(ctx context.Context, f archive.DataFile, local *folder) error {
	ctx, cancel := c.within(ctx, f.Bytes)
	defer cancel()
	return c.archive.Upload(ctx, f, local.files[f.Name], archive.UploadOptions{
		Tail: checkedTail, Samples: samples, Pace: func(r io.Reader) io.Reader { return &paced{ctx, r, c.limit} },
	})
}

// commit puts the new files in the place of the others. One that lost its race is
// nobody's, and the sweep's to remove.
func (c *Compactor) commit(ctx context.Context, t *archive.Table, files, fresh []archive.DataFile) error {
	r := archive.Replacement{
		ID: "compact-" + uuid.NewString(), New: fresh, Op: archive.ReplaceFiles,
		Reason: fmt.Sprintf("compaction: %d files", len(archive.Objects(files))),
	}
	for _, o := range archive.Objects(files) {
		r.Old = append(r.Old, o.Name)
	}
	snap, err := t.Replace(ctx, r)
	if err != nil {
		return err
	}
	c.cfg.OnCommit(t.Topic(), snap)
	return nil
}

// folder has the files of one merge on the disk, by their objects' names. It
// is an archive.RangeReader.
type folder struct {
	dir   string
	files map[string]*os.File
}

func (d *folder) create(name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, fmt.Sprint(len(d.files))), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	d.files[name] = f
	return f, nil
}

func (d *folder) rename(from, to string) {
	d.files[to] = d.files[from]
	delete(d.files, from)
}

func (d *folder) close() {
	for _, f := range d.files {
		_ = f.Close()
	}
}

// ReadAt implements archive.RangeReader.
func (d *folder) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, ok := d.files[name]
	if !ok {
		return fmt.Errorf("read %s: %w", name, objstore.ErrNotFound)
	}
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %s: %w", name, err)
}

// pacer gives a function that keeps work within a share of one processor: after
// a piece of it, it waits for as much longer as the share is smaller.
func (c *Compactor) pacer(ctx context.Context) func() error {
	began := time.Now()
	return func() error {
		worked := time.Since(began)
		if worked < pieceOfWork {
			return ctx.Err()
		}
		wait := time.Duration(float64(min(worked, 50*pieceOfWork)) * (1/c.cfg.CPU - 1))
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		began = time.Now()
		return ctx.Err()
	}
}

// paced keeps a reader within a rate.
type paced struct {
	ctx   context.Context
	r     io.Reader
	limit *rate.Limiter
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.r.Read(b[:min(len(b), rateBurst)])
	if p.limit != nil && n > 0 {
		if lerr := p.limit.WaitN(p.ctx, n); lerr != nil && (err == nil || errors.Is(err, io.EOF)) {
			err = lerr
		}
	}
	return n, err
}
