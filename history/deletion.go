package history

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
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
	"varve/internal/proof"
	"varve/internal/retention"
)

// maxRecord bounds a stored record of a deletion.
const maxRecord = 64 << 20

// Names of records: a deletion is an object of its own, and so is the note that
// its objects were removed.
const (
	recordSuffix  = ".json"
	removedSuffix = ".removed.json"
)

// Deletion is the record of what one pass took out of a table: an object
// "deletions/<time>-<id>.json" under the table's root, kept for good.
// docs/format/retention.md describes it.
type Deletion struct {
	Version int       `json:"version"` // 1
	ID      string    `json:"id"`
	Topic   string    `json:"topic"`
	At      time.Time `json:"at"`
	// RemoveAfter is when the objects may be removed.
	RemoveAfter time.Time     `json:"remove_after"`
	Rows        int64         `json:"rows"`
	Bytes       int64         `json:"bytes"`
	Files       []DeletedFile `json:"files"`
	// Digest is over what went: "sha256:" and the hash of a line a file, in order
	// of the names. Empty in records from before there was one.
	Digest string `json:"digest,omitempty"`
	// Heads are the proof's roots of the broker groups before the deletion, in hex:
	// what went was part of them.
	Heads map[string]string `json:"heads,omitempty"`
	// SignedBy is the key that signed the record, "" where none did; known where
	// all records were asked for.
	SignedBy string `json:"-"`

	// Removed says what became of the objects; nil before. It is stored as an
	// object of its own.
	Removed *Removed `json:"removed,omitempty"`

	object string // name in the bucket
}

// Removed is the end of a deletion: an object "deletions/<time>-<id>.removed.json".
type Removed struct {
	Version int       `json:"version"` // 1
	At      time.Time `json:"at"`
	Objects int       `json:"objects"`
	// Abandoned says that the record was stored but nothing went: the process
	// ended before the commit.
	Abandoned bool `json:"abandoned,omitempty"`
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
		object: fmt.Sprintf("%s%020d-%s"+recordSuffix, deletionsPrefix(t.Root()), at.UnixMilli(), id),
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

// objects are the names of what went, each once: a file is an object, or one
// queue's part of one.
func (d *Deletion) objects() (names []string) {
	seen := map[string]bool{}
	for _, f := range d.Files {
		if !seen[f.Name] {
			seen[f.Name] = true
			names = append(names, f.Name)
		}
	}
	return names
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

// seal notes the digest of what goes.
func (d *Deletion) seal() {
	lines := make([]string, len(d.Files))
	for i, f := range d.Files {
		lines[i] = fmt.Sprintf("%s %s %d %d %d %d %d\n", f.Name, f.Queue.Broker, f.Queue.ID, f.Offsets.From, f.Offsets.To, f.Rows, f.Bytes)
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, l := range lines {
		h.Write([]byte(l))
	}
	d.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// state notes the proof's heads.
func (d *Deletion) state(heads map[string]archive.SignedHead) {
	for broker, h := range heads {
		if d.Heads == nil {
			d.Heads = map[string]string{}
		}
		d.Heads[broker] = hex.EncodeToString(h.Root[:])
	}
}

// put stores the record and, where there is a key, its signature: an object
// "deletion-signatures/<time>-<id>.<key id>.json", so that who reads records only
// never meets it.
func (d *Deletion) put(ctx context.Context, b objstore.Bucket, key ed25519.PrivateKey) error {
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", d.object, err)
	}
	if err := b.Put(ctx, d.object, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent); err != nil || key == nil {
		return err
	}
	d.SignedBy = proof.KeyID(key.Public().(ed25519.PublicKey))
	root, base, _ := strings.Cut(strings.TrimSuffix(d.object, recordSuffix), "/deletions/")
	return putJSON(ctx, b, fmt.Sprintf("%s%s.%s%s", signaturesPrefix(root), base, d.SignedBy, recordSuffix), deletionSignature{1, proof.SignDeletion(key, data)})
}

// deletionSignature is a signature as it is stored.
type deletionSignature struct {
	Version   int    `json:"version"` // 1
	Signature []byte `json:"signature"`
}

func signaturesPrefix(root string) string { return root + "/deletion-signatures/" }

// signers gives who signed the records under a table's root, by their base names.
func signers(ctx context.Context, b objstore.Bucket, root string) (map[string]string, error) {
	out := map[string]string{}
	for o, err := range b.List(ctx, signaturesPrefix(root)) {
		if err != nil {
			return nil, fmt.Errorf("list signatures of deletions under %s: %w", root, err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(o.Name, signaturesPrefix(root)), recordSuffix)
		if base, key, ok := strings.Cut(name, "."); ok {
			out[base] = key
		}
	}
	return out, nil
}

// finish stores what became of the objects.
func (d *Deletion) finish(ctx context.Context, b objstore.Bucket, r Removed) error {
	d.Removed = &r
	return putJSON(ctx, b, strings.TrimSuffix(d.object, recordSuffix)+removedSuffix, r)
}

func putJSON(ctx context.Context, b objstore.Bucket, name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return b.Put(ctx, name, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent)
}

// Deletions gives the records of a topic's table, the oldest first.
func (r *Retainer) Deletions(ctx context.Context, topic string) ([]Deletion, error) {
	t, err := r.archive.Table(ctx, topic)
	if err != nil {
		return nil, err
	}
	list, err := deletions(ctx, r.archive.Bucket(), t.Root(), true)
	if err != nil {
		return nil, err
	}
	by, err := signers(ctx, r.archive.Bucket(), t.Root())
	for i := range list {
		list[i].SignedBy = by[strings.TrimSuffix(strings.TrimPrefix(list[i].object, deletionsPrefix(t.Root())), recordSuffix)]
	}
	return list, err
}

// deletions reads the records under a table's root; finished ones only where
// all is set.
func deletions(ctx context.Context, b objstore.Bucket, root string, all bool) ([]Deletion, error) {
	var records []objstore.Object
	ends := map[string]objstore.Object{}
	for o, err := range b.List(ctx, deletionsPrefix(root)) {
		if err != nil {
			return nil, fmt.Errorf("list deletions under %s: %w", root, err)
		}
		if base, ok := strings.CutSuffix(o.Name, removedSuffix); ok {
			ends[base+recordSuffix] = o
		} else {
			records = append(records, o)
		}
	}
	var out []Deletion
	for _, o := range records {
		end, finished := ends[o.Name]
		if finished && !all {
			continue
		}
		d := Deletion{object: o.Name}
		if err := getJSON(ctx, b, o, &d); err != nil {
			return nil, err
		}
		if finished {
			d.Removed = &Removed{}
			if err := getJSON(ctx, b, end, d.Removed); err != nil {
				return nil, err
			}
		}
		out = append(out, d)
	}
	return out, nil
}

func getJSON(ctx context.Context, b objstore.Bucket, o objstore.Object, into any) error {
	if o.Size > maxRecord {
		return fmt.Errorf("record %s: %d bytes are over the limit of %d: %w", o.Name, o.Size, maxRecord, archive.ErrDamaged)
	}
	r, err := b.Get(ctx, o.Name)
	if err != nil {
		return fmt.Errorf("record %s: %w", o.Name, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxRecord))
	if err != nil {
		return fmt.Errorf("record %s: %w", o.Name, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("record %s: %w: %w", o.Name, archive.ErrDamaged, err)
	}
	return nil
}
