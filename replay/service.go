package replay

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Config are the limits of a Service. A zero field means its default.
type Config struct {
	MaxRunning    int           // jobs at a time, others wait; default 2
	Parallel      int           // queues of a job at a time; default 8
	BatchMessages int           // messages published at once; default 1024
	BatchBytes    int           // read at once; default 1 MiB
	Checkpoint    time.Duration // between two stored states of a job; default 1 s
	MaxRetries    int           // of one queue in a row, before its job fails; default 10
	RetryWait     time.Duration // before the first retry, doubled for each; default 200 ms
	MaxJobs       int           // records kept; the oldest ended ones go; default 1000
	StreamBytes   int           // read ahead by one stream; default 32 MiB
	// Permanent tells errors that no retry helps against: the job fails at once
	// and can be resumed when their reason is gone. By default there are none.
	Permanent func(error) bool
	// Starting hears of a job before it begins, when its offsets are fixed.
	Starting func(ctx context.Context, job Job)
	// Streaming hears of a stream before it reads, when its offsets are fixed, and
	// gives what is to be called when it has ended. at tells where it is.
	Streaming func(ctx context.Context, spec Spec, at func() []Place) (ended func())
	Logger    *slog.Logger
}

func (c Config) withDefaults() Config {
	set(&c.MaxRunning, 2)
	set(&c.Parallel, 8)
	set(&c.BatchMessages, 1024)
	set(&c.BatchBytes, 1<<20)
	set(&c.Checkpoint, time.Second)
	set(&c.MaxRetries, 10)
	set(&c.RetryWait, 200*time.Millisecond)
	set(&c.MaxJobs, 1000)
	set(&c.StreamBytes, 32<<20)
	if c.Permanent == nil {
		c.Permanent = func(error) bool { return false }
	}
	if c.Starting == nil {
		c.Starting = func(context.Context, Job) {}
	}
	if c.Streaming == nil {
		c.Streaming = func(context.Context, Spec, func() []Place) func() { return func() {} }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func set[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Errors of a Service, wrapped with the job.
var (
	// ErrNoJob says that there is no job of that id.
	ErrNoJob = errors.New("no such replay job")
	// ErrState says that the job's state doesn't allow what was asked.
	ErrState = errors.New("replay job can't do that now")
	// ErrGone says that the destination was deleted, or deleted and made again,
	// after the job began to write there.
	ErrGone = errors.New("the destination topic of the replay is gone")
)

// Service runs replays. Its methods may be called concurrently.
type Service struct {
	cfg  Config
	src  Source
	jobs Jobs
	pub  Publisher

	places chan struct{} // one token a running job

	mu   sync.Mutex
	ctx  context.Context // of Run; nil while it doesn't run
	byID map[string]*entry
	wg   sync.WaitGroup // running entries
}

// entry is a job in memory.
type entry struct {
	job     Job                // guarded by Service.mu
	stop    context.CancelFunc // of its goroutine; nil while there is none
	stopped chan struct{}      // closed when that goroutine has ended
	changed chan struct{}      // closed and renewed when the state changes
	storing sync.Mutex         // held while the record is stored, taken before Service.mu
}

// New makes a service over stored jobs. Those that were running go on when Run
// is called. jobs is the service's own table.
func New(cfg Config, src Source, jobs Jobs, pub Publisher) (*Service, error) {
	cfg = cfg.withDefaults()
	s := &Service{cfg: cfg, src: src, jobs: jobs, pub: pub, places: make(chan struct{}, cfg.MaxRunning), byID: map[string]*entry{}}
	err := jobs.Scan("", func(key string, raw []byte) error {
		e := &entry{changed: make(chan struct{})}
		if err := json.Unmarshal(raw, &e.job); err != nil {
			return fmt.Errorf("replay job %s: %w", key, err)
		}
		s.byID[key] = e
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("loading replay jobs: %w", err)
	}
	return s, nil
}

// Run runs jobs until ctx ends, and returns when all have stopped and their
// progress is stored. Active jobs stay active for the next Run.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.ctx != nil {
		s.mu.Unlock()
		return errors.New("the replay service runs already")
	}
	s.ctx = ctx
	active := make([]*entry, 0, len(s.byID))
	for _, e := range s.byID {
		if e.job.State.Active() {
			active = append(active, e)
		}
	}
	slices.SortFunc(active, func(a, b *entry) int { return a.job.Created.Compare(b.job.Created) })
	for _, e := range active {
		s.launch(e)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.ctx = nil
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// launch starts an entry's goroutine. s.mu is held.
func (s *Service) launch(e *entry) {
	if s.ctx == nil || s.ctx.Err() != nil {
		return
	}
	ctx, stop := context.WithCancel(s.ctx)
	e.stop, e.stopped = stop, make(chan struct{})
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		defer stop()
		s.drive(ctx, e)
		s.mu.Lock()
		e.stop = nil
		close(e.stopped)
		s.mu.Unlock()
	}()
}

// Start begins a job. The offsets that it will replay are fixed now.
func (s *Service) Start(ctx context.Context, spec Spec) (Job, error) {
	if _, err := spec.check(); err != nil {
		return Job{}, err
	}
	if spec.Destination == "" {
		return Job{}, bad("no destination topic is named")
	}
	spans, err := s.plan(ctx, &spec)
	if err != nil {
		return Job{}, err
	}
	// Before the destination is made: a job that is refused leaves no topic behind.
	s.mu.Lock()
	_, err = s.oldest()
	s.mu.Unlock()
	if err != nil {
		return Job{}, err
	}
	queues, err := s.assign(ctx, &spec, spans)
	if err != nil {
		return Job{}, err
	}
	// The ends of the destination's queues must survive a power cut with the job.
	if err := s.pub.Flush(ctx); err != nil {
		return Job{}, fmt.Errorf("flushing the destination %s: %w", spec.Destination, err)
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return Job{}, fmt.Errorf("naming a replay job: %w", err)
	}
	now := time.Now().UTC()
	e := &entry{changed: make(chan struct{}), job: Job{
		ID: hex.EncodeToString(id[:]), Spec: spec, State: Waiting, Created: now, Updated: now, Queues: queues,
	}}
	s.cfg.Starting(ctx, e.job.clone())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.makeRoom(); err != nil {
		return Job{}, err
	}
	if err := s.jobs.Put(e.job.ID, &e.job); err != nil {
		return Job{}, fmt.Errorf("storing replay job %s: %w", e.job.ID, err)
	}
	s.byID[e.job.ID] = e
	s.launch(e)
	return e.job.clone(), nil
}

// makeRoom removes the oldest ended job where there are too many. s.mu is held.
func (s *Service) makeRoom() error {
	oldest, err := s.oldest()
	if oldest == nil || err != nil {
		return err
	}
	if err := s.jobs.Delete(oldest.job.ID); err != nil {
		return fmt.Errorf("removing replay job %s: %w", oldest.job.ID, err)
	}
	delete(s.byID, oldest.job.ID)
	return nil
}

// oldest gives the ended job that has to make room for one more, nil where
// there is room. s.mu is held.
func (s *Service) oldest() (*entry, error) {
	if len(s.byID) < s.cfg.MaxJobs {
		return nil, nil
	}
	var oldest *entry
	for _, e := range s.byID {
		if e.job.State.Ended() && e.stop == nil && (oldest == nil || e.job.Ended.Before(oldest.job.Ended)) {
			oldest = e
		}
	}
	if oldest == nil {
		return nil, bad("there are %d unfinished jobs, which is the limit; cancel some", len(s.byID))
	}
	return oldest, nil
}

// List gives all jobs, newest first.
func (s *Service) List() []Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Job, 0, len(s.byID))
	for _, e := range s.byID {
		out = append(out, e.job.clone())
	}
	slices.SortFunc(out, func(a, b Job) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Get gives one job.
func (s *Service) Get(id string) (Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(id)
	if err != nil {
		return Job{}, err
	}
	return e.job.clone(), nil
}

func (s *Service) find(id string) (*entry, error) {
	e := s.byID[id]
	if e == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoJob, id)
	}
	return e, nil
}

// Wait returns when the job is no longer active.
func (s *Service) Wait(ctx context.Context, id string) (Job, error) {
	for {
		s.mu.Lock()
		e, err := s.find(id)
		if err != nil {
			s.mu.Unlock()
			return Job{}, err
		}
		job, changed := e.job.clone(), e.changed
		s.mu.Unlock()
		if !job.State.Active() {
			return job, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return job, ctx.Err()
		}
	}
}

// Pause stops a job until it is resumed. When it returns nothing more is
// written.
func (s *Service) Pause(ctx context.Context, id string) (Job, error) {
	return s.halt(ctx, id, Paused, func(st State) bool { return st.Active() })
}

// Cancel ends a job for good. What it has written stays.
func (s *Service) Cancel(ctx context.Context, id string) (Job, error) {
	return s.halt(ctx, id, Cancelled, func(st State) bool { return !st.Ended() })
}

func (s *Service) halt(ctx context.Context, id string, to State, allowed func(State) bool) (Job, error) {
	s.mu.Lock()
	e, err := s.find(id)
	if err == nil && !allowed(e.job.State) {
		err = fmt.Errorf("%w: %s is %s", ErrState, id, e.job.State)
	}
	if err != nil {
		s.mu.Unlock()
		return Job{}, err
	}
	s.move(e, to, "")
	running, stopped := e.stop != nil, e.stopped
	if running {
		e.stop() // with the state: who sees it paused sees no new batch begin
	}
	s.mu.Unlock()
	if running {
		select {
		case <-stopped: // its goroutine stored the state
			return s.Get(id)
		case <-ctx.Done():
			return Job{}, ctx.Err()
		}
	}
	if err := s.checkpoint(ctx, e); err != nil {
		return Job{}, err
	}
	return s.Get(id)
}

// Resume lets a paused or failed job go on.
func (s *Service) Resume(ctx context.Context, id string) (Job, error) {
	for {
		s.mu.Lock()
		e, err := s.find(id)
		if err == nil && e.job.State != Paused && e.job.State != Failed {
			err = fmt.Errorf("%w: %s is %s", ErrState, id, e.job.State)
		}
		if err != nil {
			s.mu.Unlock()
			return Job{}, err
		}
		if e.stop == nil {
			s.move(e, Waiting, "")
			s.launch(e)
			job := e.job.clone()
			s.mu.Unlock()
			return job, s.checkpoint(ctx, e)
		}
		stopped := e.stopped
		s.mu.Unlock()
		select {
		case <-stopped: // of a pause that nobody waited for
		case <-ctx.Done():
			return Job{}, ctx.Err()
		}
	}
}

// move changes a job's state. s.mu is held.
func (s *Service) move(e *entry, to State, reason string) {
	e.job.State, e.job.Error = to, reason
	e.job.Updated = time.Now().UTC()
	if to.Ended() {
		e.job.Ended = e.job.Updated
	}
	close(e.changed)
	e.changed = make(chan struct{})
}

// checkpoint stores a job's record as it is now, once all that it counts as
// written is durable.
func (s *Service) checkpoint(ctx context.Context, e *entry) error {
	e.storing.Lock()
	defer e.storing.Unlock()
	s.mu.Lock()
	job := e.job.clone()
	s.mu.Unlock()
	if err := s.pub.Flush(ctx); err != nil {
		return fmt.Errorf("flushing the destination of replay job %s: %w", job.ID, err)
	}
	if err := s.jobs.Put(job.ID, &job); err != nil {
		return fmt.Errorf("storing replay job %s: %w", job.ID, err)
	}
	return nil
}
