package history

import (
	"context"
	"fmt"
	"os"
	"slices"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/proof"
)

// byObject parts marked files by the objects that have them, in the order of
// their first ones.
func byObject(files []marked) [][]marked {
	place := map[string]int{}
	var out [][]marked
	for _, f := range files {
		i, ok := place[f.Name]
		if !ok {
			i = len(out)
			place[f.Name] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], f)
	}
	return out
}

// rewriteObject makes an object anew that has marked rows, of one queue or of
// several that share it.
func (e *Eraser) rewriteObject(ctx context.Context, t *archive.Table, object []marked, id string) ([]archive.DataFile, []proof.ErasedRow, error) {
	if !object[0].Shared() {
		made, rows, err := e.rewrite(ctx, t, object[0], id)
		return []archive.DataFile{made}, rows, err
	}
	sections := t.Index().Object(object[0].Name)
	if len(sections) == 0 {
		return nil, nil, fmt.Errorf("%w: %s", archive.ErrReplaced, object[0].Name)
	}
	bucket := e.node.archive.Bucket()
	files, err := archive.OpenFiles(ctx, bucket, sections)
	if err != nil {
		return nil, nil, err
	}
	out, err := os.CreateTemp(e.cfg.Dir, "erase-*.parquet")
	if err != nil {
		return nil, nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	o, err := e.fileOptions(t, files[0])
	if err != nil {
		return nil, nil, err
	}
	made, rows, err := archive.EraseShared(ctx, files, out, o, id, func(q mq.Queue, offset int64) bool {
		return slices.ContainsFunc(object, func(m marked) bool { return m.Queue == q && m.has(offset) })
	})
	if err != nil || len(rows) == 0 {
		return nil, nil, err
	}
	name := archive.SharedName(sections[0].Queue.Broker, t.Root(), made[0].FirstStoreMillis, made[0].Section.Rows, sections[0].Epoch)
	for i := range made {
		made[i].Name = name
	}
	if err := e.node.archive.Upload(ctx, made[0].Object(), out, archive.UploadOptions{}); err != nil {
		return nil, nil, fmt.Errorf("upload: %w", err)
	}
	back, err := archive.OpenFiles(ctx, bucket, made)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range back {
		if err := sameHashes(ctx, f); err != nil {
			return nil, nil, err
		}
	}
	return made, rows, nil
}
