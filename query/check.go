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
	young, old map[checkedFile]archive.ColumnSet
}

func (c *checked) has(f checkedFile) (archive.ColumnSet, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set, ok := c.young[f]
	if !ok {
		if set, ok = c.old[f]; ok {
			c.keep(f, set)
		}
	}
	return set, ok
}

func (c *checked) add(f checkedFile, set archive.ColumnSet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(f, set|c.young[f]|c.old[f])
}

func (c *checked) keep(f checkedFile, set archive.ColumnSet) {
	if c.young == nil || len(c.young) >= maxChecked/2 {
		c.old, c.young = c.young, map[checkedFile]archive.ColumnSet{}
	}
	c.young[f] = set
}

// check reads what the query will read of the archive's files: DuckDB compares
// neither a page with its checksum nor a file with what the table says of it.
// paths are the files, in order.
func (q *run) check(topic string, files []archive.DataFile, paths []string, columns []string) error {
	set := archive.AllColumns
	if columns != nil {
		set = archive.ColumnsNamed(columns)
	}
	g, ctx := errgroup.WithContext(q.ctx)
	g.SetLimit(q.e.cfg.Threads)
	for i, f := range files {
		g.Go(func() error {
			err := q.e.checkFile(ctx, f, paths[i], set)
			switch {
			case err == nil:
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
	return g.Wait()
}

func (e *Engine) checkFile(ctx context.Context, f archive.DataFile, path string, set archive.ColumnSet) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != f.Bytes {
		return fmt.Errorf("%w: it has %d bytes, the table says %d", archive.ErrDamaged, info.Size(), f.Bytes)
	}
	id := checkedFile{data: f, modified: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.dev, id.ino = uint64(st.Dev), st.Ino //nolint:unconvert // an int32 on other systems
	}
	had, ok := e.checked.has(id)
	if ok && had&set == set {
		return nil
	}
	data, err := archive.OpenFile(ctx, openedFile{file}, f)
	if err != nil {
		return err
	}
	if err := data.Check(ctx, set&^had); err != nil {
		return err
	}
	e.checked.add(id, set)
	return nil
}

// openedFile is an archive.RangeReader of one file.
type openedFile struct{ f *os.File }

func (o openedFile) ReadAt(_ context.Context, _ string, p []byte, off int64) error {
	_, err := o.f.ReadAt(p, off)
	return err
}
