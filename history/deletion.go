package history

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/retention"
)

// maxRecord bounds a stored record of a deletion.
const maxRecord = 64 << 20

// Deletion is the record of what one pass took out of a table: an object
// "deletions/<time>-<id>.json" under the table's root, kept for good.
// docs/format/retention.md describes it.
type Deletion struct {
	Version int       `json:"version"` // 1
	ID      string    `json:"id"`
	Topic   string    `json:"topic"`
	At      time.Time `json:"at"`
	// RemoveAfter is when the objects may be removed, ObjectsRemoved when they
	// were; zero before.
	RemoveAfter    time.Time `json:"remove_after"`
	ObjectsRemoved time.Time `json:"objects_removed,omitzero"`
	// Abandoned says that the record was stored but nothing went: the process
	// ended before the commit.
	Abandoned bool          `json:"abandoned,omitempty"`
	Rows      int64         `json:"rows"`
	Bytes     int64         `json:"bytes"`
	Files     []DeletedFile `json:"files"`

	object string // name in the bucket
}

// DeletedFile is one file of a deletion, with the rule that let it go.
type DeletedFile struct {
	Name             string          `json:"name"`
	Queue            mq.Queue        `json:"queue"`
	Offsets          mq.Range        `json:"offsets"`
	Rows             int64           `json:"rows"`
	Bytes            int64           `json:"bytes"`
	FirstStoreMillis int64           `json:"first_store_millis"`
	LastStoreMillis  int64           `json:"last_store_millis"`
	Rule             string          `json:"rule"`
	Cause            retention.Cause `json:"cause"`
}

func deletionsPrefix(root string) string { return root + "/deletions/" }

func newDeletion(t *archive.Table, at, removeAfter time.Time) *Deletion {
	id := uuid.NewString()[:8]
	return &Deletion{
		Version: 1, ID: id, Topic: t.Topic(), At: at.UTC(), RemoveAfter: removeAfter.UTC(),
		object: fmt.Sprintf("%s%020d-%s.json", deletionsPrefix(t.Root()), at.UnixMilli(), id),
	}
}

func (d *Deletion) add(q mq.Queue, r retention.Removal) {
	f := r.File
	d.Files = append(d.Files, DeletedFile{
		Name: f.Name, Queue: q, Offsets: f.Offsets, Rows: f.Rows, Bytes: f.Bytes,
		FirstStoreMillis: f.FirstStoreMillis, LastStoreMillis: f.LastStoreMillis, Rule: r.Rule, Cause: r.Cause,
	})
	d.Rows += f.Rows
	d.Bytes += f.Bytes
}

// reason says by which rules, for the snapshot's summary.
func (d *Deletion) reason() string {
	var rules []string
	for _, f := range d.Files {
		if r := fmt.Sprintf("%s (%s)", f.Rule, f.Cause); !slices.Contains(rules, r) {
			rules = append(rules, r)
		}
	}
	return "retention: " + strings.Join(rules, ", ") + "; record " + d.ID
}

func (d *Deletion) put(ctx context.Context, b objstore.Bucket) error {
	return d.write(ctx, b, objstore.IfAbsent)
}

func (d *Deletion) update(ctx context.Context, b objstore.Bucket) error {
	return d.write(ctx, b, objstore.Always)
}

func (d *Deletion) write(ctx context.Context, b objstore.Bucket, c objstore.Cond) error {
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("encode record %s: %w", d.object, err)
	}
	return b.Put(ctx, d.object, bytes.NewReader(data), int64(len(data)), c)
}

// Deletions gives the records of a topic's table, the oldest first.
func (r *Retainer) Deletions(ctx context.Context, topic string) ([]Deletion, error) {
	t, err := r.archive.Table(ctx, topic)
	if err != nil {
		return nil, err
	}
	return deletions(ctx, r.archive.Bucket(), t.Root())
}

func deletions(ctx context.Context, b objstore.Bucket, root string) ([]Deletion, error) {
	var out []Deletion
	for o, err := range b.List(ctx, deletionsPrefix(root)) {
		if err != nil {
			return nil, fmt.Errorf("list deletions under %s: %w", root, err)
		}
		d, err := readDeletion(ctx, b, o)
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", o.Name, err)
		}
		out = append(out, d)
	}
	return out, nil
}

func readDeletion(ctx context.Context, b objstore.Bucket, o objstore.Object) (d Deletion, err error) {
	if o.Size > maxRecord {
		return d, fmt.Errorf("%d bytes are over the limit of %d", o.Size, maxRecord)
	}
	r, err := b.Get(ctx, o.Name)
	if err != nil {
		return d, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxRecord))
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, err
	}
	d.object = o.Name
	return d, nil
}
