package audit

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/proof"
	"varve/internal/typed"
)

// Options configure an audit. The zero value audits everything.
type Options struct {
	Topics []string // the topics to audit; all where empty
	// Keys are the public keys of which one must have signed each head. Where
	// there are none, signatures are not looked at, and the report says so.
	Keys     []ed25519.PublicKey
	Parallel int // files read at a time; the processors where it is not positive
	// Since is an earlier report: what it had must still be there, but for what
	// retention removed.
	Since *Report
	// Layouts gives a version of the schema of a broker group's topic, or says why
	// it can't: typed columns are compared with what it makes of the bodies. nil, or
	// NotTyped, compares only their checksums.
	Layouts  func(ctx context.Context, broker, topic string, version int) (*typed.Layout, error)
	NotTyped bool
	Now      func() time.Time
}

// ErrNoTopic says that a topic to audit has no table, and an earlier report knew
// of none either.
var ErrNoTopic = errors.New("no table of this topic")

// Run audits an archive that was opened with archive.OpenReadOnly.
func Run(ctx context.Context, a *archive.Archive, o Options) (*Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &run{
		archive: a, o: o, limit: make(chan struct{}, cmp.Or(max(o.Parallel, 0), runtime.GOMAXPROCS(0))),
		rep: Report{Archive: a.Identity(), Location: a.Bucket().URL(), At: o.Now().UTC(), Doubts: []Doubt{}, NotCovered: []NotCovered{}, Heads: []Head{}},
	}
	start := time.Now()
	tables, err := a.Incarnations(ctx)
	if err != nil {
		return nil, err
	}
	for _, topic := range o.Topics {
		there := slices.ContainsFunc(tables, func(i archive.Incarnation) bool { return i.Topic == topic })
		if !there && !o.Since.has(topic) {
			return nil, fmt.Errorf("%s: %w", topic, ErrNoTopic)
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(tablesAtOnce)
	for _, i := range tables {
		if len(o.Topics) == 0 || slices.Contains(o.Topics, i.Topic) {
			g.Go(func() error { return r.table(gctx, i) })
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	r.missingTables(tables)
	r.uncompared(tables)
	if len(o.Topics) == 0 {
		unmarked, err := a.Unmarked(ctx, tables)
		if err != nil {
			return nil, err
		}
		for _, root := range unmarked {
			r.doubt(Doubt{File: root, What: "a table is there, and no marker says that it exists: readers don't find it"})
		}
	}
	r.finish(time.Since(start))
	return &r.rep, nil
}

// tablesAtOnce bounds the tables whose metadata is read at a time.
const tablesAtOnce = 8

// run is one audit.
type run struct {
	archive *archive.Archive
	o       Options
	limit   chan struct{} // a place for each file that is being read

	mu  sync.Mutex
	rep Report
}

func (r *run) doubt(d Doubt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rep.Doubts = append(r.rep.Doubts, d)
}

func (r *run) skip(n NotCovered) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rep.NotCovered = append(r.rep.NotCovered, n)
}

// finish puts the report in order.
func (r *run) finish(took time.Duration) {
	rep := &r.rep
	rep.Seconds = took.Seconds()
	rep.OK = len(rep.Doubts) == 0
	slices.SortStableFunc(rep.Doubts, func(a, b Doubt) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Broker, b.Broker), cmp.Compare(id(a.Queue), id(b.Queue)), cmp.Compare(a.From, b.From))
	})
	slices.SortStableFunc(rep.NotCovered, func(a, b NotCovered) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Broker, b.Broker), cmp.Compare(id(a.Queue), id(b.Queue)), cmp.Compare(a.From, b.From))
	})
	slices.SortStableFunc(rep.Leftover, func(a, b Leftover) int { return strings.Compare(a.Topic, b.Topic) })
	slices.SortFunc(rep.Heads, func(a, b Head) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Incarnation, b.Incarnation), cmp.Compare(a.Broker, b.Broker))
	})
}

func id(q *int32) int32 {
	if q == nil {
		return -1
	}
	return *q
}

// gone tells what is wrong with an object from a bucket that can't be read.
func gone(err error) bool { return archive.Unreadable(err) || errors.Is(err, objstore.ErrNotFound) }

// mostTurns bounds how often an audit of a table begins again because files went
// that it had still to read.
const mostTurns = 16

// table audits one table. Where compaction or retention took files out of it
// meanwhile, it goes on with the newer version and what it has read of files
// that are in both.
func (r *run) table(ctx context.Context, i archive.Incarnation) error {
	read := map[string][]result{} // by object, of each file in it
	for turn := 1; ; turn++ {
		t, err := r.turn(ctx, i, read)
		if err != nil && !gone(err) && !errors.Is(err, archive.ErrNoTable) {
			return err
		}
		if turn < mostTurns {
			stale, err := t.stale(ctx, err)
			if err != nil {
				return err
			}
			if stale {
				continue
			}
		}
		if err != nil {
			r.doubt(Doubt{Topic: i.Topic, What: fmt.Sprintf("the table of incarnation %d can't be read: %v", i.Number, err)})
			return nil
		}
		t.report()
		return nil
	}
}

// turn audits a table's newest version. read has what was read of objects before,
// and gets what is read of others.
func (r *run) turn(ctx context.Context, i archive.Incarnation, read map[string][]result) (*tableAudit, error) {
	t := &tableAudit{run: r, topic: i.Topic, number: i.Number}
	var err error
	if t.l, err = r.archive.ReadLedger(ctx, i); err != nil {
		return t, err
	}
	t.results = make([]result, len(t.l.Files))
	for _, what := range t.l.Odd {
		t.doubt(Doubt{File: t.l.Table.MetadataName(), What: "the metadata may have been put back to an older state: " + what})
	}
	if err := t.deletions(ctx); err != nil {
		return t, err
	}
	if err := t.certificates(ctx); err != nil {
		return t, err
	}
	t.since = r.known(i)
	if err := t.readFiles(ctx, read); err != nil {
		return t, err
	}
	t.typedSkipped()
	t.chain()
	return t, t.strays(ctx)
}

// readFiles reads the objects that were not read before.
func (t *tableAudit) readFiles(ctx context.Context, read map[string][]result) error {
	g, gctx := errgroup.WithContext(ctx)
	places := map[archive.FileID]int{}
	for n, f := range t.l.Files {
		places[f.ID()] = n
	}
	for _, object := range archive.ByObject(t.l.Files) {
		if have, ok := read[object[0].Name]; ok {
			for i, f := range object {
				t.results[places[f.ID()]] = have[i]
			}
			continue
		}
		select {
		case t.limit <- struct{}{}:
		case <-gctx.Done():
			return g.Wait()
		}
		g.Go(func() error {
			defer func() { <-t.limit }()
			return t.readObject(gctx, object, func(f archive.DataFile, res result) { t.results[places[f.ID()]] = res })
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, object := range archive.ByObject(t.l.Files) {
		all := make([]result, len(object))
		for i, f := range object {
			all[i] = t.results[places[f.ID()]]
		}
		if !slices.ContainsFunc(all, func(res result) bool { return res.err != nil }) {
			read[object[0].Name] = all
		}
	}
	return nil
}

// stale reports whether what was not there, of the metadata (err) or of the
// files, is in the table no more.
func (t *tableAudit) stale(ctx context.Context, err error) (bool, error) {
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		return false, nil
	}
	var missing []string
	for n := range t.results {
		if errors.Is(t.results[n].err, objstore.ErrNotFound) {
			missing = append(missing, t.l.Files[n].Name)
		}
	}
	if err == nil && len(missing) == 0 {
		return false, nil
	}
	now, lerr := t.archive.ReadLedger(ctx, archive.Incarnation{Topic: t.topic, Number: t.number})
	switch {
	case lerr != nil && (gone(lerr) || errors.Is(lerr, archive.ErrNoTable)):
		return false, nil
	case lerr != nil:
		return false, lerr
	case t.l == nil || err != nil:
		return t.l == nil || now.Version > t.l.Version, nil
	}
	return !slices.ContainsFunc(now.Files, func(f archive.DataFile) bool { return slices.Contains(missing, f.Name) }), nil
}

// report adds the table's part to the whole.
func (t *tableAudit) report() {
	r := t.run
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rep.Doubts = append(r.rep.Doubts, t.doubts...)
	r.rep.NotCovered = append(r.rep.NotCovered, t.skipped...)
	r.rep.Heads = append(r.rep.Heads, t.heads...)
	if t.leftover != nil {
		r.rep.Leftover = append(r.rep.Leftover, *t.leftover)
	}
	r.rep.Tables++
	r.rep.Files += len(archive.Objects(t.l.Files))
	for n := range t.results {
		f, res := &t.l.Files[n], &t.results[n]
		r.rep.Rows += res.rows
		r.rep.Erased += res.erased
		r.rep.Bytes += f.Bytes
		r.rep.RawBytes += res.raw
	}
	r.rep.Proven += t.proven
}

// tableAudit is the audit of one version of a table.
type tableAudit struct {
	*run
	l       *archive.Ledger
	topic   string
	number  int
	results []result // of l.Files
	deleted map[mq.Queue][]mq.Range
	since   map[mq.Queue]QueueHead
	erased  map[mq.Queue]map[int64][]erasedAs // by certificates
	proven  int64
	doubts  []Doubt
	skipped []NotCovered
	heads   []Head
	// leftover is nil where nothing is.
	leftover *Leftover
}

func (t *tableAudit) doubt(d Doubt) {
	d.Topic = t.topic
	t.doubts = append(t.doubts, d)
}

// doubtQueue is a doubt about a queue.
func (t *tableAudit) doubtQueue(q mq.Queue, d Doubt) {
	d.Broker, d.Queue = q.Broker, &q.ID
	t.doubt(d)
}

func (t *tableAudit) skip(n NotCovered) {
	n.Topic = t.topic
	t.skipped = append(t.skipped, n)
}

func (t *tableAudit) uncovered(q mq.Queue, from, to int64, why string) {
	if to > from {
		t.skip(NotCovered{Broker: q.Broker, Queue: &q.ID, From: from, To: to, Why: why})
	}
}

// statements compares the heads of each broker group with what was signed.
func (t *tableAudit) statements(states map[mq.Queue]proof.State) {
	byBroker := map[string][]proof.QueueHead{}
	for q := range t.l.Next {
		s := states[q]
		byBroker[q.Broker] = append(byBroker[q.Broker], proof.QueueHead{ID: q.ID, From: s.From, Next: s.Next, Head: s.Head()})
	}
	for broker := range t.l.Signed {
		if byBroker[broker] == nil {
			byBroker[broker] = nil
		}
	}
	for broker, queues := range byBroker {
		slices.SortFunc(queues, func(a, b proof.QueueHead) int { return int(a.ID) - int(b.ID) })
		s, ok := t.l.Signed[broker]
		if !ok {
			if slices.ContainsFunc(queues, func(q proof.QueueHead) bool { return q.Next > q.From }) {
				t.doubt(Doubt{Broker: broker, What: "no head is in the table's snapshot"})
			}
			continue
		}
		if root := proof.QueuesRoot(queues); root != s.Root || len(queues) != s.Queues {
			t.doubt(Doubt{Broker: broker, What: fmt.Sprintf("the %d queues come to the root %x, the snapshot's head is about %d queues and %x", len(queues), root[:8], s.Queues, s.Root[:8])})
		}
		t.signature(broker, s)
		t.keep(s, queues)
	}
}

func (t *tableAudit) keep(s archive.SignedHead, queues []proof.QueueHead) {
	t.heads = append(t.heads, Head{
		Topic: s.Topic, Incarnation: s.Incarnation, Broker: s.Broker, Epoch: s.Epoch, At: time.UnixMilli(s.Millis).UTC(),
		Root: fmt.Sprintf("%x", s.Root), Key: s.KeyID, Signature: s.Signature, Queues: queueHeads(queues),
	})
}

func (t *tableAudit) signature(broker string, s archive.SignedHead) {
	switch {
	case len(t.o.Keys) == 0:
		t.skip(NotCovered{Broker: broker, Why: "who made it: no public key was given"})
	case len(s.Signature) == 0:
		t.notSigned(broker, s)
	case !slices.ContainsFunc(t.o.Keys, func(k ed25519.PublicKey) bool { return s.Verify(k, s.Signature) == nil }):
		t.doubt(Doubt{Broker: broker, What: fmt.Sprintf("the signature of the head (key %s) is not of any of the %d public keys given", s.KeyID, len(t.o.Keys))})
	}
}

// notSigned is the doubt about a head without a signature. Who takes a signature
// away leaves what a server without a key makes, but for the key's name and for
// what an earlier report knows.
func (t *tableAudit) notSigned(broker string, s archive.SignedHead) {
	key := s.KeyID
	if t.o.Since != nil {
		for _, h := range t.o.Since.Heads {
			if h.Topic == t.topic && h.Broker == broker {
				key = cmp.Or(key, h.Key)
			}
		}
	}
	if key != "" {
		t.doubt(Doubt{Broker: broker, What: fmt.Sprintf("the head is not signed; it was, by key %s", key)})
		return
	}
	t.doubt(Doubt{Broker: broker, Unsigned: true, What: "the head is not signed: the server that made it had no proof.key-file, or somebody took the signature away"})
}
