package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/retention"
)

// Errors of holds.
var (
	// ErrHeld says that a legal hold forbids what was asked for.
	ErrHeld = errors.New("a legal hold covers it")
	// ErrNoHold says that there is no such hold in force.
	ErrNoHold = errors.New("no such hold")
	// ErrHoldExists says that a hold of the name is in force.
	ErrHoldExists = errors.New("a hold of this name is in force")
)

const holdsPrefix = "_varve/holds/"

// maxKeyAnswers bounds what is remembered of files and keys.
const maxKeyAnswers = 1 << 18

// Holds are the archive's legal holds. They are objects beside the tables
// (ledger), so every process over the bucket finds them. It may be used
// concurrently.
//
// Invariants:
//   - Nothing is let go before the holds were read, and read again right before
//     it goes; a hold that this process set is in force when Set returns.
//   - What can't be told (a file whose filters can't be read) is held.
type Holds struct {
	ledger  ledger[retention.Hold]
	archive *archive.Archive
	mayHave func(ctx context.Context, f archive.DataFile, key string) (bool, error)
	now     func() time.Time
	log     *slog.Logger
	// OnChange hears of the holds in force when a look has found other ones than
	// the one before, and once at first; may be nil. It is set before the first.
	OnChange func([]retention.Hold)

	// gate is held for reading from the last look at the holds until a deletion
	// is committed, and for writing while one is set.
	gate sync.RWMutex

	mu      sync.Mutex
	keys    map[keyOf]bool // answers of files' filters; files never change
	earlier []retention.Hold
	recalls bool  // earlier is of a look that an earlier process had
	told    int64 // versions that OnChange has heard of, -1 before the first
}

type keyOf struct {
	file archive.FileID
	key  string
}

// NewHolds gives the holds of a node's archive.
func NewHolds(n *Node) *Holds {
	return &Holds{
		ledger:  ledger[retention.Hold]{archive: n.archive, prefix: holdsPrefix},
		archive: n.archive, mayHave: n.reader.MayHaveKey, now: n.cfg.Now, log: n.cfg.Logger, keys: map[keyOf]bool{}, told: -1,
	}
}

// Recall tells of the holds that an earlier process of the same data directory
// knew: they count until the store can be asked.
func (h *Holds) Recall(list []retention.Hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.earlier, h.recalls = list, true
}

// Run looks at the holds from time to time until ctx ends.
func (h *Holds) Run(ctx context.Context, interval time.Duration) error {
	look := func(ctx context.Context) {
		if err := h.Refresh(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, archive.ErrUnavailable) {
			h.log.Warn("read the holds", slog.Any("err", err))
		}
	}
	look(ctx)
	every(ctx, interval, look)
	return nil
}

// Refresh reads what other processes set and released.
func (h *Holds) Refresh(ctx context.Context) error {
	if err := h.ledger.refresh(ctx); err != nil {
		return fmt.Errorf("read the holds: %w", err)
	}
	h.tell()
	return nil
}

func (h *Holds) tell() {
	n := h.ledger.versions()
	h.mu.Lock()
	changed := h.told != n
	h.told = n
	h.mu.Unlock()
	if changed && h.OnChange != nil {
		list, _ := h.active()
		h.OnChange(list)
	}
}

// All gives every hold that was ever set, in its newest state, by name.
func (h *Holds) All(ctx context.Context) ([]retention.Hold, error) {
	if err := h.Refresh(ctx); err != nil {
		return nil, err
	}
	known, _ := h.ledger.newest()
	out := make([]retention.Hold, 0, len(known))
	for _, e := range known {
		out = append(out, e.value)
	}
	slices.SortFunc(out, func(a, b retention.Hold) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// active gives the holds in force as of the last look, of this process or the one
// before; ok is false where none has succeeded yet.
func (h *Holds) active() (out []retention.Hold, ok bool) {
	known, ok := h.ledger.newest()
	if !ok {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.earlier, h.recalls
	}
	for _, e := range known {
		if e.value.Active() {
			out = append(out, e.value)
		}
	}
	slices.SortFunc(out, func(a, b retention.Hold) int { return strings.Compare(a.Name, b.Name) })
	return out, ok
}

// History gives all that was noted of a hold, the oldest first.
func (h *Holds) History(ctx context.Context, name string) ([]retention.Hold, error) {
	if err := checkRecordName(name); err != nil {
		return nil, err
	}
	list, err := h.ledger.history(ctx, name)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("hold %q: %w", name, ErrNoHold)
	}
	return list, err
}

// Set puts a hold in force; ErrHoldExists where one of the name is. What a pass
// let go before, and whose objects are still there, is kept as well.
func (h *Holds) Set(ctx context.Context, x retention.Hold) (retention.Hold, error) {
	if err := errors.Join(checkRecordName(x.Name), invalid(x.Validate())); err != nil {
		return x, err
	}
	x.Since, x.Released = h.now().UTC(), nil
	h.gate.Lock()
	defer h.gate.Unlock()
	if err := h.Refresh(ctx); err != nil {
		return x, err
	}
	if old := h.ledger.get(x.Name); old.seq > 0 && old.value.Active() {
		return old.value, fmt.Errorf("hold %q: %w", x.Name, ErrHoldExists)
	}
	err := h.ledger.put(ctx, x.Name, x)
	if errors.Is(err, objstore.ErrExists) {
		err = fmt.Errorf("hold %q: %w", x.Name, ErrHoldExists)
	}
	if err == nil {
		h.tell()
		h.log.Info("legal hold set", slog.String("hold", x.Name), slog.String("by", x.By), slog.String("reason", x.Why))
	}
	return x, err
}

// Release ends a hold; what it was stays noted.
func (h *Holds) Release(ctx context.Context, name string, r retention.Release) (retention.Hold, error) {
	if r.Why == "" {
		return retention.Hold{}, fmt.Errorf("hold %q: why: a release needs a reason: %w", name, ErrInvalid)
	}
	if err := h.Refresh(ctx); err != nil {
		return retention.Hold{}, err
	}
	e := h.ledger.get(name)
	if e.seq == 0 || !e.value.Active() {
		return e.value, fmt.Errorf("hold %q: %w", name, ErrNoHold)
	}
	x := e.value
	r.At = h.now().UTC()
	x.Released = &r
	err := h.ledger.put(ctx, name, x)
	if errors.Is(err, objstore.ErrExists) {
		err = fmt.Errorf("hold %q was released by somebody else meanwhile: %w", name, ErrNoHold)
	}
	if err == nil {
		h.tell()
		h.log.Info("legal hold released", slog.String("hold", name), slog.String("by", r.By), slog.String("reason", r.Why))
	}
	return x, err
}

// Check reports which hold forbids to change or remove messages of a queue:
// those of some offsets, stored in [fromMillis, toMillis], that carry the keys.
// No keys are any. It reads the holds anew.
func (h *Holds) Check(ctx context.Context, q mq.Queue, fromMillis, toMillis int64, keys []string) error {
	if err := h.Refresh(ctx); err != nil {
		return err
	}
	return h.check(q, fromMillis, toMillis, keys)
}

// check is Check as of the last look.
func (h *Holds) check(q mq.Queue, fromMillis, toMillis int64, keys []string) error {
	list, _ := h.active()
	for _, x := range list {
		if !x.CoversQueue(q) || !x.CoversTimes(fromMillis, toMillis) {
			continue
		}
		if len(x.Keys) == 0 || len(keys) == 0 || slices.ContainsFunc(keys, func(k string) bool { return slices.Contains(x.Keys, k) }) {
			return fmt.Errorf("%v: %w: hold %q since %s: %s", q, ErrHeld, x.Name, x.Since.Format(time.RFC3339), x.Why)
		}
	}
	return nil
}

// HoldCheck reports which hold forbids to change messages of a queue, as
// Holds.Check does.
type HoldCheck func(q mq.Queue, fromMillis, toMillis int64, keys []string) error

// Guarded reads the holds anew and calls do with what checks against them. No
// hold is set by this process until do has returned.
func (h *Holds) Guarded(ctx context.Context, do func(held HoldCheck) error) error {
	h.gate.RLock()
	defer h.gate.RUnlock()
	if err := h.Refresh(ctx); err != nil {
		return err
	}
	return do(h.check)
}

// CheckTopic reports which hold forbids to delete a topic: any that may cover a
// message of it. It asks the store; where that doesn't answer, what was read
// last decides, and before anything was read its error.
func (h *Holds) CheckTopic(ctx context.Context, topic string) error {
	if err := h.Refresh(ctx); err != nil {
		if _, ok := h.active(); !ok {
			return err
		}
	}
	list, _ := h.active()
	for _, x := range list {
		if x.CoversTopic(topic) {
			return fmt.Errorf("topic %s: %w: hold %q since %s: %s", topic, ErrHeld, x.Name, x.Since.Format(time.RFC3339), x.Why)
		}
	}
	return nil
}

// Active counts the holds in force, as far as is known.
func (h *Holds) Active() int {
	list, _ := h.active()
	return len(list)
}

// MayCover reports whether a hold in force, as far as is known, may cover a
// message of one of the topics; true where nothing is known.
func (h *Holds) MayCover(topics []string) bool {
	list, ok := h.active()
	return !ok || slices.ContainsFunc(list, func(x retention.Hold) bool { return slices.ContainsFunc(topics, x.CoversTopic) })
}

// Covering gives the holds that keep a data file.
func (h *Holds) Covering(ctx context.Context, f archive.DataFile) (names []string) {
	list, _ := h.active()
	for _, x := range list {
		if h.covers(ctx, x, f) {
			names = append(names, x.Name)
		}
	}
	return names
}

// Keeping names the holds that may keep something of a table, and counts the
// files that those keep which don't go by key.
func (h *Holds) Keeping(t *archive.Table) (names []string, files int) {
	list, _ := h.active()
	list = slices.DeleteFunc(slices.Clone(list), func(x retention.Hold) bool { return !x.CoversTopic(t.Topic()) })
	for _, x := range list {
		names = append(names, x.Name)
	}
	if len(list) == 0 {
		return nil, 0
	}
	for _, f := range t.Index().All() {
		if slices.ContainsFunc(list, func(x retention.Hold) bool {
			return len(x.Keys) == 0 && x.CoversQueue(f.Queue) && x.CoversTimes(f.FirstStoreMillis, f.LastStoreMillis)
		}) {
			files++
		}
	}
	return names, files
}

// covers reports whether a hold covers a row of a file, or may: by its keys the
// file's filters decide, which are never wrong about what is there.
func (h *Holds) covers(ctx context.Context, x retention.Hold, f archive.DataFile) bool {
	if !x.CoversQueue(f.Queue) || !x.CoversTimes(f.FirstStoreMillis, f.LastStoreMillis) {
		return false
	}
	return len(x.Keys) == 0 || slices.ContainsFunc(x.Keys, func(key string) bool { return h.carries(ctx, f, key) })
}

func (h *Holds) carries(ctx context.Context, f archive.DataFile, key string) bool {
	k := keyOf{f.ID(), key}
	h.mu.Lock()
	may, known := h.keys[k]
	h.mu.Unlock()
	if known {
		return may
	}
	may, err := h.mayHave(ctx, f, key)
	if err != nil {
		h.log.Warn("a file is held, for its filters can't be read", slog.String("file", f.Name), slog.Any("err", err))
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.keys) >= maxKeyAnswers {
		clear(h.keys)
	}
	h.keys[k] = may
	return may
}

// coversDeleted is covers for a file that left its table: its filters are not
// asked.
func (h *Holds) coversDeleted(f DeletedFile) bool {
	list, ok := h.active()
	return !ok || slices.ContainsFunc(list, func(x retention.Hold) bool {
		return x.CoversQueue(f.Queue) && x.CoversTimes(f.FirstStoreMillis, f.LastStoreMillis)
	})
}
