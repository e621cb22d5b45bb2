package compact

import (
	"bufio"
	"context"
	"fmt"

	"varve/internal/archive"
)

// shareAll makes objects of the files of several queues on the disk.
func (c *Compactor) shareAll(ctx context.Context, t *archive.Table, s Share, local *folder) (made, error) {
	var all made
	for _, runs := range s {
		m, err := c.share(ctx, t, runs, local)
		if err != nil {
			return made{}, err
		}
		all.files = append(all.files, m.files...)
		all.stats.CopiedRows += m.stats.CopiedRows
		all.stats.EncodedRows += m.stats.EncodedRows
	}
	return all, nil
}

// share makes an object of several queues' files on the disk and checks every
// byte of it.
func (c *Compactor) share(ctx context.Context, t *archive.Table, queues [][]archive.DataFile, local *folder) (made, error) {
	out, err := local.create("merged")
	if err != nil {
		return made{}, err
	}
	buf := bufio.NewWriterSize(out, 256<<10)
	s, err := archive.ShareFiles(ctx, buf, local, queues, archive.MergeOptions{SpillDir: local.dir, Pace: c.pacer(ctx)})
	if err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return made{}, err
	}
	first := s.Sections[0]
	since := first.FirstStoreMillis
	for _, f := range s.Sections {
		since = min(since, f.FirstStoreMillis)
	}
	name := archive.SharedName(first.Queue.Broker, t.Root(), since, first.Section.Rows, first.Epoch)
	s.Name(name)
	local.rename("merged", name)
	if err := s.Check(ctx, local); err != nil {
		return made{}, fmt.Errorf("check the shared object: %w", err)
	}
	return made{s.Sections, s.Stats}, nil
}
