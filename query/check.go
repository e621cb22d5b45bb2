package query

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"varve/internal/archive"
	"varve/internal/typed"
	"varve/query/wire"
)

// maxChecked is how many files are remembered as checked, about.
const maxChecked = 1 << 16

// checkedFile is a file of this machine as it was when it was checked.
type checkedFile struct {
	data     archive.DataFile
	dev, ino uint64
	modified int64
}

// checked remembers which columns of which files were found good. What was not
// asked for in the last maxChecked/2 is forgotten.
type checked struct {
	mu         sync.Mutex
	young, old map[checkedFile]found
}

// found is what was found in a file: which columns are good, and its typed ones.
type found struct {
	set   archive.ColumnSet
	typed []typed.Field
}

func (c *checked) has(f checkedFile) (found, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	had, ok := c.young[f]
	if !ok {
		if had, ok = c.old[f]; ok {
			c.keep(f, had)
		}
	}
	return had, ok
}

func (c *checked) add(f checkedFile, new found) {
	c.mu.Lock()
	defer c.mu.Unlock()
	new.set |= c.young[f].set | c.old[f].set
	c.keep(f, new)
}

func (c *checked) keep(f checkedFile, new found) {
	if c.young == nil || len(c.young) >= maxChecked/2 {
		c.old, c.young = c.young, map[checkedFile]found{}
	}
	c.young[f] = new
}

// check reads what the query will read of the archive's files: DuckDB compares
// neither a page with its checksum nor a file with what the table says of it.
// paths are the files, in order. It gives the typed columns of each.
func (q *run) check(topic string, files []archive.DataFile, paths []string, set archive.ColumnSet) ([][]typed.Field, error) {
	columns := make([][]typed.Field, len(files))
	g, ctx := errgroup.WithContext(q.ctx)
	g.SetLimit(q.e.cfg.Threads)
	for i, f := range files {
		g.Go(func() error {
			theirs, err := q.e.checkFile(ctx, f, paths[i], set)
			switch {
			case err == nil:
				columns[i] = theirs
				return nil
			case errors.Is(err, fs.ErrNotExist):
				return &missingError{f.Name}
			case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
				return err
			}
			why := q.hidePaths(err.Error())
			q.bad(topic, f.Name, why)
			return &Error{Kind: wire.Storage, Message: "reading " + f.Name + " of topic " + topic + " in the archive: " + why}
		})
	}
	return columns, g.Wait()
}

func (e *Engine) checkFile(ctx context.Context, f archive.DataFile, path string, set archive.ColumnSet) ([]typed.Field, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != f.ObjectBytes() {
		return nil, fmt.Errorf("%w: it has %d bytes, the table says %d", archive.ErrDamaged, info.Size(), f.ObjectBytes())
	}
	id := checkedFile{data: f, modified: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino = uint64(st.Dev), st.Ino //nolint:unconvert // an int32 on other systems
	}
	had, ok := e.checked.has(id)
	if ok && had.set&set == set {
		return had.typed, nil
	}
	data, err := archive.OpenFile(ctx, openedFile{file}, f)
	if err != nil {
		return nil, err
	}
	if err := data.Check(ctx, set&^had.set); err != nil {
		return nil, err
	}
	columns, err := data.TypedColumns()
	if err != nil {
		return nil, err
	}
	e.checked.add(id, found{set, columns})
	return columns, nil
}

// openedFile is an archive.RangeReader of one file.
type openedFile struct{ f *os.File }

func (o openedFile) ReadAt(_ context.Context, _ string, p []byte, off int64) error {
	_, err := o.f.ReadAt(p, off)
	return err
}
