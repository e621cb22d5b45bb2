package connector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"varve/hot"
	"varve/internal/archive"
	"varve/internal/mq"
)

// session is one run from the snapshots on. It ends when the archive turns out
// to be other than it was read, and the next one reads it again.
type session struct {
	c     *Connector
	epoch int64
	// endings are the hot log's, as of endingsSeen.
	endings     map[string]int64
	endingsSeen uint64
	topics      map[string]*topic
	latest      *topic // that topicOf found last: most often the next one too
	roll        rollRule

	pos       int64 // everything of the log below it was taken
	lastStore int64 // store time of the last record taken
	open      int   // open segments
	staged    int64 // bytes of blocks
	spare     [][]byte
	line      line      // segments that are not committed
	blocks    blocks    // queues that are not archived any more
	due       time.Time // until then no segment is due by its age
	ageing    rest      // between looks for segments that are
	flushing  rest      // between looks at what flush requests wait for
	deleting  rest      // between looks for what of it was deleted

	waiting    []*segment // frozen, no job yet
	jobs       int        // jobs that run
	encoding   int        // of them, those that still need the staged records
	readyTo    []*topic   // that wait for a commit, in line
	committing int
	commitSeq  int64
	older      map[string]bool // topics of which the archive lacks what it had
	lost       int64           // below it the log was archived once; some may be missing in the archive now
	told       int64           // low-water mark that the log has heard of, and when
	toldAt     time.Time
	published  time.Time // when the status was brought up to date by the clock

	tailed  chan tailed
	taken   chan struct{}
	events  chan event
	uploads chan struct{} // one slot for each upload
	room    room          // for the files of jobs
	running sync.WaitGroup
	harm    harm
}

// tailed is what one look at the log gave.
type tailed struct {
	records []byte
	lost    []hot.Lost // between them, in the order of the log
	next    int64
	err     error
}

// event is what a job or a commit tells the owner.
type event struct {
	encoded  *segment         // its staged records are not needed any more
	uploaded *segment         // its file is in the bucket, or err
	file     archive.DataFile // of uploaded
	lost     *hot.Lost        // of uploaded: its file ends before it, or there is none
	commit   *commit          // it is done, or err
	err      error            // with nothing else it ends the session
}

// runSession runs one session; begun is called when it knows where to go on.
func (c *Connector) runSession(ctx context.Context, begun func()) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &session{
		c: c, topics: map[string]*topic{}, older: map[string]bool{},
		roll:   rollRule{age: c.cfg.RollAge, ageMax: c.cfg.RollAgeMax, small: c.cfg.SmallBytes, filesPerSecond: c.cfg.FilesPerSecond},
		tailed: make(chan tailed), taken: make(chan struct{}),
		events: make(chan event, 64), uploads: make(chan struct{}, c.cfg.Uploads),
	}
	s.room.left.Store(c.cfg.MemoryBytes / outputShare)
	defer s.running.Wait()
	defer cancel()
	if err := c.persist(ctx, "read where the archive stands", c.cfg.CallTimeout*resumeCalls, s.resume); err != nil {
		return err
	}
	begun()
	c.begin()
	c.cfg.Logger.Info("connector begins", slog.String("broker", c.cfg.Broker),
		slog.Int64("epoch", s.epoch), slog.Int64("position", s.pos), slog.Int("tables", len(s.topics)))
	from := s.pos
	s.running.Go(func() { s.follow(ctx, from) })
	s.running.Go(func() { s.watchLost(ctx) })
	s.running.Go(func() { s.markEndings(ctx) })
	for name := range s.damagedTopics() {
		s.running.Go(func() { s.watch(ctx, name, true) })
	}
	for name := range s.older {
		s.running.Go(func() { s.watch(ctx, name, false) })
	}
	return s.own(ctx)
}

// follow hands the log to the owner piece by piece; a piece is valid until the
// owner has taken it.
func (s *session) follow(ctx context.Context, from int64) {
	tail := s.c.log.Tail(from)
	defer tail.Close()
	for {
		var p tailed
		p.records, p.next, p.err = tail.Next(ctx, tailBytes)
		if hot.Damaged(p.err) {
			p.records, p.lost, p.next, p.err = tail.Past(tailBytes)
		}
		select {
		case s.tailed <- p:
		case <-ctx.Done():
			return
		}
		if p.err != nil {
			return
		}
		select {
		case <-s.taken:
		case <-ctx.Done():
			return
		}
	}
}

// own is the owner's loop.
func (s *session) own(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		s.dispatch(ctx)
		s.startCommits(ctx)
		var tail <-chan tailed
		if s.makeRoom() {
			tail = s.tailed
		}
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-tail:
			err = s.takePiece(ctx, p)
		case e := <-s.events:
			err = s.handle(ctx, e)
		case req := <-s.c.flush:
			s.seeEndings() // a mark of a topic that is gone says nothing about its successor
			s.c.flushes = append(s.c.flushes, req)
			s.rollFlushed()
		case <-ticker.C:
			s.seeEndings()
			s.rollByAge()
			s.deleting.between(s.forgetDeleted)
			s.rollFlushed()
			if now := s.c.cfg.Now(); now.Sub(s.published) >= publishEvery {
				s.publish()
				s.published = now
			}
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) takePiece(ctx context.Context, p tailed) error {
	if p.err != nil {
		return fmt.Errorf("follow the log of %s from %d: %w", s.c.cfg.Broker, s.pos, p.err)
	}
	s.seeEndings()
	lost := p.lost
	for b := p.records; len(b) > 0; {
		rec, rest, err := mq.NextRecord(b)
		if err != nil {
			return fmt.Errorf("record of %s after position %d: %w", s.c.cfg.Broker, s.pos, err)
		}
		for len(lost) > 0 && lost[0].Position < rec.PhysicalOffset() {
			s.lose(lost[0])
			lost = lost[1:]
		}
		s.take(rec)
		b = rest
	}
	for _, l := range lost {
		s.lose(l)
	}
	s.pos = p.next
	s.rollFlushed()
	select {
	case s.taken <- struct{}{}:
	case <-ctx.Done():
	}
	return nil
}

// take places one record of the log: it is committed already, next in its
// queue, or the first of the topic's next incarnation.
func (s *session) take(rec mq.Record) {
	s.lastStore = rec.StoreTimeMillis()
	t := s.topicOf(rec.Topic())
	at, phys := rec.QueueOffset(), rec.PhysicalOffset()
	if t.system || phys < t.from {
		return
	}
	q := s.queueOf(t, rec.QueueID())
	switch {
	case phys <= q.lastPhysical:
		return
	case t.damaged != nil && q.blocked < 0:
		s.block(q, phys, t.damaged)
	case q.known && at < q.next:
		q = s.queueOf(s.reincarnate(t), rec.QueueID())
	case at > q.next && q.blocked < 0 && s.dropped(q, at):
		s.declare(q, at)
	case q.known && at > q.next && q.blocked < 0:
		s.block(q, phys, fmt.Errorf("the log goes on at offset %d, the archive needs %d: %w", at, q.next, ErrGap))
	}
	if q.blocked >= 0 {
		q.lastPhysical = phys
		return
	}
	s.stage(q, rec)
}

// block stops archiving a queue: the archive keeps no gaps.
func (s *session) block(q *queue, phys int64, why error) {
	q.blocked = phys
	s.blocks.add(q)
	err := fmt.Errorf("archive %v: %w", q.id, why)
	s.c.failed(err)
	s.c.mu.Lock()
	s.c.status.Blocked = append(s.c.status.Blocked, Blocked{q.id, why.Error()})
	s.c.mu.Unlock()
	s.c.cfg.Logger.Error("queue is not archived any more", slog.Any("err", err))
}

// dropped reports whether what is missing before an offset was dropped because
// the user's trim policy said so.
func (s *session) dropped(q *queue, at int64) bool {
	_, below := s.c.log.Marks(q.id)
	return at <= below
}

// declare has the next file of a queue begin after a gap, which its commit
// declares.
func (s *session) declare(q *queue, at int64) {
	if q.open != nil {
		s.freeze(q.open)
	}
	q.gap = mq.Range{From: q.next, To: at}
	q.next = at
	s.c.cfg.Logger.Warn("messages were given up before this archive had them, by the user's choice; the archive goes on after them",
		slog.Any("queue", q.id), slog.Int64("from", q.gap.From), slog.Int64("to", at))
}

// unblock takes a topic that is gone out of the status.
func (s *session) unblock(topic string) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.status.Blocked = slices.DeleteFunc(s.c.status.Blocked, func(b Blocked) bool { return b.Queue.Topic == topic })
}

// rollByAge freezes the segments whose wait is over, and with them those of
// the same topics that have waited half as long, for one commit.
func (s *session) rollByAge() {
	if s.c.cfg.Now().Before(s.due) {
		return
	}
	s.ageing.between(func() {
		now, open := s.c.cfg.Now(), s.open
		next := now.Add(s.c.cfg.RollAgeMax)
		for _, t := range s.topics {
			first := s.firstDue(t, next, open)
			if first.After(now) {
				next = first
				continue
			}
			for g := range t.open {
				if s.roll.due(g.bytes, now.Sub(g.since), open, true) {
					s.freeze(g)
				}
			}
		}
		if s.open == open { // the fewer are open the shorter they wait
			s.due = next
		}
	})
}

// firstDue is when the first of a topic's open segments is due, where that is
// before another time.
func (s *session) firstDue(t *topic, before time.Time, open int) time.Time {
	for g := range t.open {
		if at := g.since.Add(s.roll.wait(g.bytes, open)); at.Before(before) {
			before = at
		}
	}
	return before
}

// rollFlushed freezes what flush requests wait for, and ends those that have
// all they asked for.
func (s *session) rollFlushed() {
	if len(s.c.flushes) > 0 {
		s.flushing.between(s.lookAtFlushes)
	}
}

func (s *session) lookAtFlushes() {
	left := s.c.flushes[:0]
	for _, f := range s.c.flushes {
		for id, to := range f.targets {
			t := s.topics[id.Topic]
			if t == nil {
				continue // not taken yet
			}
			if t.damaged != nil {
				f.blocked = fmt.Errorf("topic %s is blocked: %w", t.name, t.damaged)
				delete(f.targets, id)
				continue
			}
			q := t.queues[id.ID]
			switch {
			case q == nil:
			case q.mark >= to, q.blocked >= 0 && q.open == nil && len(q.frozen) == 0:
				delete(f.targets, id)
			case q.open != nil && (q.next >= to || q.blocked >= 0):
				s.freezeFlushed(t, f)
			}
		}
		if len(f.targets) == 0 {
			close(f.done)
			continue
		}
		left = append(left, f)
	}
	clear(s.c.flushes[len(left):])
	s.c.flushes = left
}

// freezeFlushed freezes all of a topic that a flush request waits for and that
// was taken, one behind the other, so that they are committed together.
func (s *session) freezeFlushed(t *topic, f *flushRequest) {
	for g := range t.open {
		if to, ok := f.targets[g.q.id]; ok && (g.q.next >= to || g.q.blocked >= 0) {
			s.freeze(g)
		}
	}
}

func (s *session) handle(ctx context.Context, e event) error {
	s.seeEndings()
	switch {
	case e.encoded != nil:
		s.encoding--
		s.unstage(e.encoded)
		return nil
	case e.uploaded != nil:
		return s.uploadedOne(ctx, e)
	case e.commit != nil:
		return s.committed(ctx, e.commit, e.err)
	default:
		return e.err
	}
}

func (s *session) uploadedOne(ctx context.Context, e event) error {
	s.jobs--
	t := e.uploaded.q.topic
	t.outstanding--
	switch {
	case t.gone, e.uploaded.dropped:
		return nil
	case e.lost != nil:
		s.loseFrom(e.uploaded, e.file.Offsets.To, *e.lost)
	}
	switch {
	case e.uploaded.dropped:
		return nil
	case errors.Is(e.err, mq.ErrNoQueue):
		s.let(t, e.err)
		return nil
	case archive.Unreadable(e.err), errors.Is(e.err, errOthers):
		s.damage(ctx, t, e.err)
		return nil
	case e.err != nil:
		return e.err
	}
	e.uploaded.file = &e.file
	s.readied(t)
	return nil
}

// lowWater is the position below which nothing is left to archive, and the
// store time of the first message that is.
func (s *session) lowWater() (position, storeMillis int64) {
	position = s.pos
	if g := s.line.first(); g != nil && g.firstPhysical < position {
		position, storeMillis = g.firstPhysical, g.firstStore
	}
	if low := s.blocks.low(); low < position {
		position, storeMillis = low, 0
	}
	return position, storeMillis
}

// lowWater is the topic's, where it is below a bound; segments of skip count
// as archived.
func (t *topic) lowWater(bound int64, skip map[*segment]bool) (position, storeMillis int64) {
	position = bound
	see := func(g *segment) {
		if g.firstPhysical < position {
			position, storeMillis = g.firstPhysical, g.firstStore
		}
	}
	for _, q := range t.queues {
		for _, g := range q.frozen {
			if !skip[g] {
				see(g)
				break
			}
		}
		if q.open != nil {
			see(q.open)
		}
		if q.blocked >= 0 && q.blocked < position {
			position, storeMillis = q.blocked, 0
		}
	}
	return position, storeMillis
}

// publish tells the hot log and the status where the session stands.
func (s *session) publish() {
	low, oldest := s.lowWater()
	c := s.c
	c.mu.Lock()
	c.low, c.oldest = low, oldest
	c.status.Epoch, c.status.OpenSegments, c.status.StagedBytes = s.epoch, s.open, s.staged
	c.status.Jobs = s.jobs + len(s.waiting)
	c.mu.Unlock()
	if low < s.lost {
		c.held.Store(low)
	} else {
		c.held.Store(math.MaxInt64)
	}
	if now := c.cfg.Now(); low > s.told && now.Sub(s.toldAt) >= lowWaterEvery {
		s.toldAt = now
		s.setArchived(nil, low)
	}
}

func (s *session) setArchived(marks map[mq.Queue]int64, low int64) {
	s.told = low
	if err := s.c.log.SetArchived(marks, low); err != nil && !errors.Is(err, hot.ErrClosed) {
		s.c.failed(fmt.Errorf("set the archived mark of %s: %w", s.c.cfg.Broker, err))
	}
}
