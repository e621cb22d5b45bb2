package history

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/proof"
	"varve/internal/typed"
)

// Errors of an Eraser.
var (
	// ErrNothingToErase says that no archived message is meant, or that those
	// that are were erased before.
	ErrNothingToErase = errors.New("no such message in the archive")
	// ErrStillHot says that a message is in the hot log too, where it would go on
	// being read.
	ErrStillHot = errors.New("still in the hot log")
)

// eraseTries is how often an erasure begins anew because files were replaced
// under it.
const eraseTries = 5

// openFiles is how many files stay open between the look for messages and their
// erasure.
const openFiles = 16

// EraseConfig sets up an Eraser.
type EraseConfig struct {
	Dir string             // for temporary files
	Key ed25519.PrivateKey // signs certificates; nil leaves them unsigned
	// Hot gives a queue's range in the hot log; known is false where this process
	// doesn't have the queue's log.
	Hot func(ctx context.Context, q mq.Queue) (r mq.Range, known bool)
	// HotKey reports whether the hot log has a message with a key.
	HotKey func(ctx context.Context, k mq.KeyQuery) (bool, error)
	// Guarded calls do with what says which hold keeps a message; no hold comes
	// into force until do has returned. Nil where there are no holds.
	Guarded func(ctx context.Context, do func(held HoldCheck) error) error
	// Scrub makes sure that the hot log's files don't hold what was trimmed from
	// it; may be nil.
	Scrub func(context.Context) error
	// Layout gives the typed columns of a topic; may be nil.
	Layout func(topic string) *typed.Layout
	Now    func() time.Time
	Logger *slog.Logger
}

// Eraser erases messages of an archive: their bodies, keys and properties are
// rewritten away, and their leaves stay for the proof.
type Eraser struct {
	cfg  EraseConfig
	node *Node
	mu   sync.Mutex // one erasure at a time
}

// NewEraser makes an eraser for a node's archive.
func NewEraser(cfg EraseConfig, n *Node) *Eraser {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Guarded == nil {
		cfg.Guarded = func(_ context.Context, do func(HoldCheck) error) error {
			return do(func(mq.Queue, int64, int64, []string) error { return nil })
		}
	}
	return &Eraser{cfg: cfg, node: n}
}

// EraseRequest says which messages of a topic are to be erased: by key, by
// message id, or one by queue and offset.
type EraseRequest struct {
	Topic  string
	Key    string
	MsgID  string
	Queue  mq.Queue // with Offset, where neither Key nor MsgID is given
	Offset int64
	Who    string
	Why    string
}

// asked says for what without the key itself, which may be what has to go.
func (r *EraseRequest) asked() string {
	switch {
	case r.Key != "":
		return "a key"
	case r.MsgID != "":
		return "message " + r.MsgID
	}
	return fmt.Sprintf("queue %d of %s, offset %d", r.Queue.ID, r.Queue.Broker, r.Offset)
}

// Erase erases what is asked for and gives the certificate, which is in the
// archive then. After an error nothing is erased, or all of it: what was not
// committed leaves objects that a sweep removes. The old files stay for who reads
// them until a sweep removes them.
func (e *Eraser) Erase(ctx context.Context, r EraseRequest) (*proof.Certificate, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.node.archive.Table(ctx, r.Topic)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		if _, err := t.Refresh(ctx); err != nil {
			return nil, err
		}
		c, err := e.once(ctx, t, r)
		if !errors.Is(err, archive.ErrReplaced) || try == eraseTries {
			return c, err
		}
	}
}

func (e *Eraser) once(ctx context.Context, t *archive.Table, r EraseRequest) (*proof.Certificate, error) {
	rows, err := e.find(ctx, t, r)
	if err != nil {
		return nil, err
	}
	if err := e.allowed(ctx, r, rows); err != nil {
		return nil, err
	}
	places := placesOf(rows)
	if err := t.Leased(ctx, places); err != nil {
		return nil, err
	}
	if e.cfg.Scrub != nil {
		if err := e.cfg.Scrub(ctx); err != nil {
			return nil, fmt.Errorf("nothing is erased, for freed segments of the hot log may hold it: %w", err)
		}
	}
	id := uuid.NewString()
	c := &proof.Certificate{
		Version: 1, ID: id, Archive: e.node.archive.Identity(), Topic: r.Topic, Incarnation: t.Incarnation(),
		At: e.cfg.Now().UTC(), Who: r.Who, Why: r.Why, Asked: r.asked(), Covers: covers, Rows: []proof.ErasedRow{},
	}
	change := archive.Replacement{ID: "erasure-" + id, Op: archive.OverwriteRows, Reason: "erasure " + id, Erased: places}
	for _, object := range byObject(rows) {
		made, erased, err := e.rewriteObject(ctx, t, object, id)
		if err != nil {
			return nil, err
		}
		if len(erased) == 0 {
			continue // all were erased before
		}
		c.Rows = append(c.Rows, erased...)
		c.Files = append(c.Files, proof.ErasedFiles{Before: object[0].Name, After: made[0].Name})
		change.Old, change.New = append(change.Old, object[0].Name), append(change.New, made...)
	}
	if len(c.Rows) == 0 {
		return nil, fmt.Errorf("%w: it was erased before", ErrNothingToErase)
	}
	// The certificate comes first: no row is erased without one.
	data, err := c.Seal(e.cfg.Key)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s%020d-%s.json", erasuresPrefix(t.Root()), c.At.UnixMilli(), id)
	err = e.cfg.Guarded(ctx, func(held HoldCheck) error {
		if err := e.free(rows, held); err != nil {
			return err // a hold came while the files were written anew
		}
		if err := e.put(ctx, name, data); err != nil {
			return fmt.Errorf("store the certificate: %w", err)
		}
		_, err := t.Replace(ctx, change)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, f := range change.Old {
		e.node.Forget(f)
	}
	e.cfg.Logger.Info("messages were erased", slog.String("topic", r.Topic), slog.Int("messages", len(c.Rows)),
		slog.Int("files", len(c.Files)), slog.String("certificate", name), slog.String("who", r.Who))
	return c, nil
}

// placesOf gives the messages by queue and offset.
func placesOf(rows []marked) map[mq.Queue][]int64 {
	out := map[mq.Queue][]int64{}
	for _, f := range rows {
		out[f.Queue] = append(out[f.Queue], slices.Collect(maps.Keys(f.messages))...)
	}
	return out
}

// covers is what a certificate says of its reach.
const covers = "the archive's current files, and the files of the broker group's hot log; the replaced files once the sweep has removed them. " +
	"Not: old versions that the bucket keeps, backups, blocks that a disk or file system has not overwritten, and what readers copied."

func erasuresPrefix(root string) string { return root + "/erasures/" }

// marked is a file with the messages in it that are to be erased, by offset.
type marked struct {
	archive.DataFile
	file     *archive.File // nil where it is to be opened again
	messages map[int64]heldBy
}

func (m *marked) has(offset int64) bool {
	_, meant := m.messages[offset]
	return meant
}

// heldBy is what a hold may cover a message by.
type heldBy struct {
	millis int64
	keys   []string
}

// find looks for the messages.
func (e *Eraser) find(ctx context.Context, t *archive.Table, r EraseRequest) ([]marked, error) {
	files := t.Index().All()
	if r.Key == "" && r.MsgID == "" {
		files = t.Index().Files(r.Queue, mq.Range{From: r.Offset, To: r.Offset + 1})
	}
	var out []marked
	for _, object := range archive.ByObject(files) {
		opened, err := archive.OpenFiles(ctx, e.node.archive.Bucket(), object)
		if err != nil {
			return nil, err
		}
		for i, file := range opened {
			m := marked{DataFile: object[i], messages: map[int64]heldBy{}}
			offsets := []int64{r.Offset}
			if r.Key != "" || r.MsgID != "" {
				k := mq.KeyQuery{Topic: r.Topic, Key: cmp.Or(r.Key, r.MsgID), Unique: r.Key == ""}
				if offsets, err = file.FindKey(ctx, k); err != nil {
					return nil, err
				}
			}
			for _, o := range offsets {
				if m.messages[o], err = readHeldBy(ctx, file, o); err != nil {
					return nil, err
				}
			}
			if len(out) < openFiles { // each has pages in memory
				m.file = file
			}
			if len(offsets) > 0 {
				out = append(out, m)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: %s of topic %s", ErrNothingToErase, r.asked(), r.Topic)
	}
	return out, nil
}

// allowed refuses where the message would still be read, or a hold keeps it.
func (e *Eraser) allowed(ctx context.Context, r EraseRequest, files []marked) error {
	for _, f := range files {
		hot, known := e.cfg.Hot(ctx, f.Queue)
		if !known {
			return fmt.Errorf("%w, perhaps: only the process with the log of broker group %s knows; ask it", ErrStillHot, f.Queue.Broker)
		}
		for o := range f.messages {
			if o >= hot.From {
				return fmt.Errorf("%w: offset %d of %v; it can be erased once the log is trimmed (it begins at %d; varve archive trim)", ErrStillHot, o, f.Queue, hot.From)
			}
		}
	}
	if err := e.cfg.Guarded(ctx, func(held HoldCheck) error { return e.free(files, held) }); err != nil {
		return err
	}
	if r.Key == "" {
		return nil
	}
	found, err := e.cfg.HotKey(ctx, mq.KeyQuery{Topic: r.Topic, Key: r.Key, Max: 1})
	if err == nil && found {
		err = fmt.Errorf("%w: messages of topic %s with the key; they can be erased once they are archived and the log is trimmed (varve archive flush, varve archive trim)", ErrStillHot, r.Topic)
	}
	return err
}

// free refuses messages that a hold covers, by their own times and keys.
func (e *Eraser) free(files []marked, held HoldCheck) error {
	for _, f := range files {
		for o, m := range f.messages {
			if err := held(f.Queue, m.millis, m.millis, m.keys); err != nil {
				return fmt.Errorf("erase offset %d of %v: %w", o, f.Queue, err)
			}
		}
	}
	return nil
}

// readHeldBy reads what a hold may cover a message by.
func readHeldBy(ctx context.Context, file *archive.File, offset int64) (heldBy, error) {
	b, err := file.Read(ctx, offset, mq.Limit{Messages: 1})
	if err != nil {
		return heldBy{}, err
	}
	defer b.Release()
	r := mq.Record(b.Body)
	id, _ := mq.Property(r.Properties(), mq.PropUniqKey)
	// Never without a key: that would be any.
	return heldBy{r.StoreTimeMillis(), append(mq.Keys(r.Properties()), string(id))}, nil
}

// rewrite makes a file without the bodies of its marked rows, uploads it, and
// reads it back.
func (e *Eraser) rewrite(ctx context.Context, t *archive.Table, f marked, id string) (made archive.DataFile, rows []proof.ErasedRow, err error) {
	bucket, file := e.node.archive.Bucket(), f.file
	if file == nil {
		if file, err = archive.OpenFile(ctx, bucket, f.DataFile); err != nil {
			return made, nil, err
		}
	}
	o, err := e.fileOptions(t, file)
	if err != nil {
		return made, nil, err
	}
	out, err := os.CreateTemp(e.cfg.Dir, "erase-*.parquet")
	if err != nil {
		return made, nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	if made, rows, err = file.Erase(ctx, out, o, id, f.has); err != nil || len(rows) == 0 {
		return made, nil, err
	}
	made.Name = archive.FileName(f.Queue, t.Root(), made.Offsets.From, made.Rows, f.Epoch)
	if err := e.node.archive.Upload(ctx, made, out, archive.UploadOptions{}); err != nil {
		return made, nil, fmt.Errorf("upload: %w", err)
	}
	return made, rows, readBack(ctx, bucket, made)
}

// fileOptions are those of a file that comes in another's place: with the columns
// of the schema, where that one has some.
func (e *Eraser) fileOptions(t *archive.Table, file *archive.File) (archive.FileOptions, error) {
	f := file.DataFile()
	o := archive.FileOptions{Epoch: f.Epoch}
	columns, err := file.TypedColumns()
	if err != nil || len(columns) == 0 {
		return o, err
	}
	if e.cfg.Layout != nil {
		o.Typed = e.cfg.Layout(t.Topic())
	}
	if o.Typed == nil {
		return o, fmt.Errorf("%s has typed columns, and topic %s no schema to make them by", f.Name, t.Topic())
	}
	return o, nil
}

// readBack compares an uploaded file's rows with what was written: the file in
// whose place it comes will be gone.
func readBack(ctx context.Context, b objstore.Bucket, f archive.DataFile) error {
	file, err := archive.OpenFile(ctx, b, f)
	if err != nil {
		return err
	}
	return sameHashes(ctx, file)
}

// sameHashes compares a file's rows with the hashes that it was opened with.
func sameHashes(ctx context.Context, file *archive.File) error {
	f := file.DataFile()
	var have proof.Builder
	err := file.Audit(ctx, func(row *archive.AuditedRow) error {
		leaf := row.Leaf
		if row.Erased != nil {
			leaf = *row.Erased
		}
		have.Add(row.Offset, leaf)
		return nil
	})
	if err != nil {
		return err
	}
	if string(have.Parts().Encode()) != f.Hashes {
		return fmt.Errorf("%w: %s has other rows than were written", archive.ErrNotStored, f.Name)
	}
	return nil
}

func (e *Eraser) put(ctx context.Context, name string, data []byte) error {
	if err := e.node.archive.Check(ctx); err != nil {
		return err
	}
	b := e.node.archive.Bucket()
	if err := b.Put(ctx, name, bytes.NewReader(data), int64(len(data)), objstore.IfAbsent); err != nil {
		return err
	}
	have := make([]byte, len(data))
	if err := b.ReadAt(ctx, name, have, 0); err != nil {
		return err
	}
	if !bytes.Equal(have, data) {
		return fmt.Errorf("%w: %s", archive.ErrNotStored, name)
	}
	return nil
}

// Left gives those of a certificate's old files whose objects are still in the
// bucket: what was erased can be read from them by who has its keys. In a
// versioned bucket old versions may stay behind the others.
func (e *Eraser) Left(ctx context.Context, c *proof.Certificate) (left []string, err error) {
	for _, f := range c.Files {
		_, err := e.node.archive.Bucket().Head(ctx, f.Before)
		switch {
		case err == nil:
			left = append(left, f.Before)
		case !errors.Is(err, objstore.ErrNotFound):
			return left, err
		}
	}
	return left, nil
}

// Erasures gives the certificates of a topic's table, the oldest first. Their
// signatures are not checked: an audit does.
func (e *Eraser) Erasures(ctx context.Context, topic string) ([]proof.Certificate, error) {
	t, err := e.node.archive.Table(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := []proof.Certificate{}
	for o, err := range e.node.archive.Bucket().List(ctx, erasuresPrefix(t.Root())) {
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		if err := getJSON(ctx, e.node.archive.Bucket(), o, &raw); err != nil {
			return nil, err
		}
		c, err := proof.OpenCertificate(raw, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", o.Name, archive.ErrDamaged, err)
		}
		out = append(out, *c)
	}
	return out, nil
}
