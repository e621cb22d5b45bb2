package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
)

// maxLeftover bounds the objects of a table that a report names.
const maxLeftover = 20

// Leftover are objects of a table that no retained snapshot needs, two days after
// they were written: replaced or deleted and not swept yet, kept by a hold or a
// lock, or never committed. They may have messages that went.
type Leftover struct {
	Topic   string   `json:"topic"`
	Objects int      `json:"objects"`
	Bytes   int64    `json:"bytes"`
	Names   []string `json:"names"` // the first of them
}

// strays looks for objects that the table doesn't know. Old ones with offsets
// that it doesn't have yet say that the metadata was put back.
func (t *tableAudit) strays(ctx context.Context) error {
	known := map[string]bool{}
	for _, f := range t.l.Files {
		known[f.Name] = true
	}
	var old []objstore.Object
	root := t.l.Table.Root()
	for _, folder := range []string{"/data/", "/metadata/"} {
		for o, err := range t.archive.Bucket().List(ctx, root+folder) {
			if err != nil {
				return fmt.Errorf("list the objects under %s: %w", root, err)
			}
			meta := strings.HasSuffix(o.Name, ".avro") || strings.HasSuffix(o.Name, ".proof")
			if known[o.Name] || folder == "/metadata/" && !meta || t.o.Now().Sub(o.Modified) < strayAge {
				continue
			}
			old = append(old, o)
		}
	}
	if len(old) == 0 {
		return nil
	}
	needed, err := t.l.Table.Needed(ctx)
	unknown := gone(err) // what an older snapshot needs: then nothing is called left over
	if err != nil && !unknown {
		return err
	}
	for _, o := range old {
		if needed[o.Name] {
			continue
		}
		beyond, err := t.beyond(ctx, o)
		switch {
		case errors.Is(err, objstore.ErrNotFound):
			continue // the sweep was faster
		case err != nil:
			return err
		case beyond, unknown:
			continue
		}
		if t.leftover == nil {
			t.leftover = &Leftover{Topic: t.topic}
		}
		l := t.leftover
		l.Objects, l.Bytes = l.Objects+1, l.Bytes+o.Size
		if len(l.Names) < maxLeftover {
			l.Names = append(l.Names, o.Name)
		}
	}
	return nil
}

// beyond doubts the table for a data object of offsets that it hasn't yet.
func (t *tableAudit) beyond(ctx context.Context, o objstore.Object) (bool, error) {
	ranges := map[mq.Queue]mq.Range{}
	if q, offsets, ok := archive.ParseFileName(t.l.Table.Root(), t.topic, o.Name); ok {
		ranges[q] = offsets
	} else if strings.Contains(o.Name, "/shared/") {
		var err error
		ranges, err = archive.SectionsOf(ctx, t.archive.Bucket(), t.topic, o)
		if gone(err) && !errors.Is(err, objstore.ErrNotFound) {
			return false, nil // no such object, or half of one: it was never committed
		}
		if err != nil {
			return false, err
		}
	}
	for q, offsets := range ranges {
		if offsets.To > t.l.Next[q] {
			t.doubtQueue(q, Doubt{
				File: o.Name, From: offsets.From, To: offsets.To,
				What: fmt.Sprintf("the bucket has a data file of %s of offsets that the table doesn't have: the metadata may be older than the archive was", o.Modified.UTC().Format(time.RFC3339)),
			})
			return true, nil
		}
	}
	return false, nil
}
