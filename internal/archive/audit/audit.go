package audit

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/proof"
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
	Now   func() time.Time
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

// table audits one table.
func (r *run) table(ctx context.Context, i archive.Incarnation) error {
	l, err := r.archive.ReadLedger(ctx, i)
	switch {
	case err != nil && (gone(err) || errors.Is(err, archive.ErrNoTable)):
		r.doubt(Doubt{Topic: i.Topic, What: fmt.Sprintf("the table of incarnation %d can't be read: %v", i.Number, err)})
		return nil
	case err != nil:
		return err
	}
	t := &tableAudit{run: r, l: l, topic: i.Topic, number: i.Number, results: make([]result, len(l.Files))}
	if l.Misnamed != "" {
		t.doubt(Doubt{File: l.Table.MetadataName(), What: "another version's metadata under this name: " + l.Misnamed})
	}
	if err := t.deletions(ctx); err != nil {
		return err
	}
	if err := t.certificates(ctx); err != nil {
		return err
	}
	t.since = r.known(i)
	g, gctx := errgroup.WithContext(ctx)
	places := map[archive.FileID]int{}
	for n, f := range l.Files {
		places[f.ID()] = n
	}
	for _, object := range archive.ByObject(l.Files) {
		select {
		case r.limit <- struct{}{}:
		case <-gctx.Done():
			return g.Wait()
		}
		g.Go(func() error {
			defer func() { <-r.limit }()
			return t.readObject(gctx, object, func(f archive.DataFile, res result) { t.results[places[f.ID()]] = res })
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	t.chain()
	if slices.ContainsFunc(t.results, func(res result) bool { return res.typed }) {
		r.skip(NotCovered{Topic: i.Topic, Why: "whether the columns made of bodies say what the bodies do: their checksums are compared, and no signature is of them"})
	}
	if err := t.strays(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rep.Tables++
	r.rep.Files += len(archive.Objects(l.Files))
	for n := range t.results {
		f, res := &l.Files[n], &t.results[n]
		r.rep.Rows += res.rows
		r.rep.Erased += res.erased
		r.rep.Bytes += f.Bytes
		r.rep.RawBytes += res.raw
	}
	r.rep.Proven += t.proven
	return nil
}

// tableAudit is the audit of one table.
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
}

func (t *tableAudit) doubt(d Doubt) {
	d.Topic = t.topic
	t.run.doubt(d)
}

// doubtQueue is a doubt about a queue.
func (t *tableAudit) doubtQueue(q mq.Queue, d Doubt) {
	d.Broker, d.Queue = q.Broker, &q.ID
	t.doubt(d)
}

func (t *tableAudit) uncovered(q mq.Queue, from, to int64, why string) {
	if to > from {
		t.skip(NotCovered{Topic: t.topic, Broker: q.Broker, Queue: &q.ID, From: from, To: to, Why: why})
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
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rep.Heads = append(t.rep.Heads, Head{
		Topic: s.Topic, Incarnation: s.Incarnation, Broker: s.Broker, Epoch: s.Epoch, At: time.UnixMilli(s.Millis).UTC(),
		Root: fmt.Sprintf("%x", s.Root), Key: s.KeyID, Signature: s.Signature, Queues: queueHeads(queues),
	})
}

func (t *tableAudit) signature(broker string, s archive.SignedHead) {
	switch {
	case len(t.o.Keys) == 0:
		t.skip(NotCovered{Topic: t.topic, Broker: broker, Why: "who made it: no public key was given"})
	case len(s.Signature) == 0:
		t.doubt(Doubt{Broker: broker, What: "the head is not signed"})
	case !slices.ContainsFunc(t.o.Keys, func(k ed25519.PublicKey) bool { return s.Verify(k, s.Signature) == nil }):
		t.doubt(Doubt{Broker: broker, What: fmt.Sprintf("the signature of the head (key %s) is not of any of the %d public keys given", s.KeyID, len(t.o.Keys))})
	}
}
