package replay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"varve/internal/mq"
)

func srcQueue(id int32) mq.Queue { return mq.Queue{Broker: "a", Topic: "src", ID: id} }

func ptr(v int64) *int64 { return &v }

func run(t *testing.T, s *Service, spec Spec) Job {
	t.Helper()
	job, err := s.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if job, err = s.Wait(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	return job
}

func TestFaithful(t *testing.T) {
	b := newBus()
	b.send(srcQueue(5), 1000, "body", "KEYS", "k1 k2", mq.PropTags, "a", mq.PropUniqKey, "ID", "own", "x")
	b.mu.Lock()
	m, _ := b.log(srcQueue(5)).recs[0].Decode()
	m.Flag, m.ReconsumeTimes, m.SysFlag, m.Body = 7, 3, mq.SysCompressed, []byte{0, 0xff}
	m.Properties = []byte("open\x01end") // no separator behind the last pair
	b.append(srcQueue(5), &m)
	b.mu.Unlock()
	for i := range 3 {
		b.log(mq.Queue{Broker: "a", Topic: "dest", ID: int32(i)})
	}
	l := &life{bus: b, jobs: newMemJobs()}
	s, _ := l.start(t, Config{})
	job := run(t, s, Spec{Source: "src", Destination: "dest"})
	dest := mq.Queue{Broker: "a", Topic: "dest", ID: 2} // 5 modulo 3
	got := b.messages(t, dest)
	if job.State != Done || len(got) != 2 {
		t.Fatalf("%+v wrote %d messages to %s, want 2", job, len(got), dest)
	}
	in := b.messages(t, srcQueue(5))
	for i, g := range got {
		w := in[i]
		mark := fmt.Sprintf("%s\x01%s\x02%s\x01src@a/5\x02%s\x01%d\x02", PropJob, job.ID, PropQueue, PropOffset, i)
		props := strings.TrimSuffix(string(w.Properties), "\x02") + "\x02" + mark
		if string(g.Body) != string(w.Body) || string(g.Properties) != props || g.BornTimeMillis != w.BornTimeMillis || g.BornHost != w.BornHost ||
			g.Flag != w.Flag || g.SysFlag != w.SysFlag || g.ReconsumeTimes != w.ReconsumeTimes {
			t.Errorf("message %d: got %+v\nwant the like of %+v", i, g, w)
		}
	}
	// A replay of a replay carries the marks of the second only.
	job = run(t, s, Spec{Source: "dest", Queues: []int32{2}, Destination: "dest2"})
	for i, g := range b.messages(t, mq.Queue{Broker: "a", Topic: "dest2", ID: 2}) {
		if n := strings.Count(string(g.Properties), propPrefix); n != 3 || g.Property(PropJob) != job.ID || g.Property(PropQueue) != "dest@a/2" || g.Property(PropOffset) != fmt.Sprint(i) {
			t.Errorf("message %d of the second replay: %q", i, g.Properties)
		}
	}
}

func TestRangesAndFilters(t *testing.T) {
	b := newBus()
	for off := range int64(20) {
		for id := range int32(2) {
			b.send(srcQueue(id), 1000+off*10, "b", mq.PropTags, string(rune('a'+off%3)), "n", fmt.Sprint(off))
		}
	}
	l := &life{bus: b, jobs: newMemJobs()}
	s, _ := l.start(t, Config{BatchMessages: 3})
	for i, tc := range []struct {
		spec Spec
		want string // offsets of queue 0, then the number of queue 1
	}{
		{Spec{}, "[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19] 20"},
		{Spec{FromMillis: 1095, ToMillis: 1130}, "[10 11 12] 3"},
		{Spec{FromOffset: ptr(3), ToOffset: ptr(5), Queues: []int32{0}}, "[3 4] 0"},
		{Spec{FromOffset: ptr(18), FromMillis: 1000, ToMillis: 5000}, "[18 19] 2"},
		{Spec{Tag: "a || c", ToOffset: ptr(6)}, "[0 2 3 5] 4"},
		{Spec{Tag: "*", SQL: "n > 17 OR TAGS = 'b' AND n < 5"}, "[1 4 18 19] 4"},
		{Spec{FromMillis: 9000}, "[] 0"},
		{Spec{FromOffset: ptr(100)}, "[] 0"},
	} {
		tc.spec.Source, tc.spec.Destination = "src", fmt.Sprintf("dest%d", i)
		job := run(t, s, tc.spec)
		w := b.replayed(t, tc.spec.Destination, job.ID)
		if got := fmt.Sprint(w["src@a/0 -> 0"], len(w["src@a/1 -> 1"])); got != tc.want || job.State != Done {
			t.Errorf("%+v: %s, wrote %s, want %s", tc.spec, job.State, got, tc.want)
		}
		if p := job.Progress(); p.Read != p.Offsets || p.Missing != 0 {
			t.Errorf("%+v: progress %+v", tc.spec, p)
		}
	}
}

func TestBadSpecs(t *testing.T) {
	b := newBus()
	b.send(srcQueue(0), 1000, "b")
	l := &life{bus: b, jobs: newMemJobs()}
	s, err := New(Config{}, source{l}, l, publisher{l})
	if err != nil {
		t.Fatal(err)
	}
	ok := func(change func(*Spec)) Spec {
		sp := Spec{Source: "src", Destination: "dest"}
		change(&sp)
		return sp
	}
	for want, sp := range map[string]Spec{
		"no source":             ok(func(s *Spec) { s.Source = "" }),
		"no destination":        ok(func(s *Spec) { s.Destination = "" }),
		"into itself":           ok(func(s *Spec) { s.Destination = "src" }),
		"system topic":          ok(func(s *Spec) { s.Destination = mq.ScheduleTopic }),
		"longer than 127":       ok(func(s *Spec) { s.Destination = strings.Repeat("x", 128) }),
		"no topic nothing":      ok(func(s *Spec) { s.Source = "nothing" }),
		"no queue 9":            ok(func(s *Spec) { s.Queues = []int32{0, 9} }),
		"ends before it begins": ok(func(s *Spec) { s.FromMillis, s.ToMillis = 5, 5 }),
		"from 1970-01-01T00:00:02.000Z to 1970-01-01T00:00:01.500Z": ok(func(s *Spec) { s.FromMillis, s.ToMillis = 2000, 1500 }),
		"from offset 3 to 3":      ok(func(s *Spec) { s.FromOffset, s.ToOffset = ptr(3), ptr(3) }),
		"negative offset":         ok(func(s *Spec) { s.FromOffset = ptr(-1) }),
		"negative rate":           ok(func(s *Spec) { s.BytesPerSecond = -1 }),
		"before 1970":             ok(func(s *Spec) { s.FromMillis = -1 }),
		"empty tag":               ok(func(s *Spec) { s.Tag = "a || " }),
		`position 3 near "LIKE '`: ok(func(s *Spec) { s.SQL = "a LIKE 'x'" }),
	} {
		if _, err := s.Start(t.Context(), sp); !errors.Is(err, ErrBadSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if len(s.List()) != 0 {
		t.Error("a refused job is kept")
	}
	if _, err := s.Stream(t.Context(), ok(func(*Spec) {}), nil); !errors.Is(err, ErrBadSpec) {
		t.Errorf("a stream with a destination: %v", err)
	}
}

// TestUnfit: a message without room for the marks stops its job with a reason.
func TestUnfit(t *testing.T) {
	b := newBus()
	b.send(srcQueue(0), 1000, "fits")
	b.send(srcQueue(0), 1000, "full", "p", strings.Repeat("x", mq.MaxPropertiesLen-10))
	l := &life{bus: b, jobs: newMemJobs()}
	s, _ := l.start(t, Config{BatchMessages: 1})
	job := run(t, s, Spec{Source: "src", Destination: "dest"})
	if job.State != Failed || !strings.Contains(job.Error, "src@a/0 offset 1") || job.Progress().Written != 1 {
		t.Errorf("%s %q, %+v", job.State, job.Error, job.Progress())
	}
}

// TestRemovedMeanwhile: offsets that retention takes during a replay are
// skipped and counted.
func TestRemovedMeanwhile(t *testing.T) {
	b := newBus()
	for range 30 {
		b.send(srcQueue(0), 1000, "b")
	}
	l := &life{bus: b, jobs: newMemJobs()}
	l.fault = func(point string) error {
		if point == "published" {
			go b.trim(srcQueue(0), 12)
		}
		return nil
	}
	s, err := New(Config{BatchMessages: 5}, source{l}, l, publisher{l})
	if err != nil {
		t.Fatal(err)
	}
	job, err := s.Start(t.Context(), Spec{Source: "src", Destination: "dest"})
	if err != nil {
		t.Fatal(err)
	}
	b.trim(srcQueue(0), 12)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go s.Run(ctx)
	if job, err = s.Wait(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if p := job.Progress(); job.State != Done || p.Missing != 12 || p.Written != 18 {
		t.Errorf("%s %q, progress %+v, want 12 missing and 18 written", job.State, job.Error, p)
	}
}

func TestLifecycle(t *testing.T) {
	b := newBus()
	for range 100 {
		b.send(srcQueue(0), 1000, "b")
	}
	jobs := newMemJobs()
	synctest.Test(t, func(t *testing.T) {
		l := &life{bus: b, jobs: jobs}
		s, stop := l.start(t, Config{MaxRunning: 1, MaxJobs: 3})
		ctx := context.Background()
		slow, err := s.Start(ctx, Spec{Source: "src", Destination: "dest", MessagesPerSecond: 10})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it has the place
		second, err := s.Start(ctx, Spec{Source: "src", Destination: "dest"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*time.Second + time.Millisecond)
		synctest.Wait()
		if j, _ := s.Get(slow.ID); j.State != Running || j.Progress().Written < 18 || j.Progress().Written > 23 {
			t.Errorf("after 2 s at 10 a second: %s, %+v", j.State, j.Progress())
		}
		if j, _ := s.Get(second.ID); j.State != Waiting {
			t.Errorf("the second of one place is %s", j.State)
		}
		// Paused, it gives its place away and writes nothing.
		j, err := s.Pause(ctx, slow.ID)
		if err != nil || j.State != Paused {
			t.Fatalf("%+v, %v", j, err)
		}
		if j, err = s.Wait(ctx, second.ID); err != nil || j.State != Done || j.Progress().Written != 100 {
			t.Errorf("%s, %+v, %v", j.State, j.Progress(), err)
		}
		if _, err := s.Pause(ctx, slow.ID); !errors.Is(err, ErrState) {
			t.Errorf("paused twice: %v", err)
		}
		if _, err := s.Resume(ctx, second.ID); !errors.Is(err, ErrState) {
			t.Errorf("resumed a done one: %v", err)
		}
		if _, err := s.Get("nothing"); !errors.Is(err, ErrNoJob) {
			t.Errorf("got %v", err)
		}
		// It goes on after a restart, still paused until told.
		stop()
		s, stop = l.start(t, Config{MaxRunning: 1, MaxJobs: 3})
		if j, _ = s.Get(slow.ID); j.State != Paused || j.Progress().Written >= 100 {
			t.Errorf("after a restart: %s, %+v", j.State, j.Progress())
		}
		if _, err := s.Resume(ctx, slow.ID); err != nil {
			t.Fatal(err)
		}
		if j, err = s.Wait(ctx, slow.ID); err != nil || j.State != Done || j.Progress().Written != 100 {
			t.Errorf("%s, %+v, %v", j.State, j.Progress(), err)
		}
		if got := b.replayed(t, "dest", slow.ID)["src@a/0 -> 0"]; len(got) != 100 {
			t.Errorf("%d messages of the slow job, want 100", len(got))
		}
		// Cancelled, it is over; too many records push the oldest ended out.
		third, err := s.Start(ctx, Spec{Source: "src", Destination: "dest", BytesPerSecond: 1})
		if err != nil {
			t.Fatal(err)
		}
		if j, err = s.Cancel(ctx, third.ID); err != nil || j.State != Cancelled {
			t.Errorf("%+v, %v", j, err)
		}
		if _, err := s.Cancel(ctx, third.ID); !errors.Is(err, ErrState) {
			t.Errorf("cancelled twice: %v", err)
		}
		if _, err := s.Start(ctx, Spec{Source: "src", Destination: "dest"}); err != nil {
			t.Fatal(err)
		}
		if list := s.List(); len(list) != 3 {
			t.Errorf("%d jobs are kept, want 3", len(list))
		}
		if _, err := s.Get(second.ID); !errors.Is(err, ErrNoJob) {
			t.Errorf("the oldest ended job is still there: %v", err)
		}
		stop()
	})
}

// TestRefusedJobMakesNoDestination: where there is no place for another job, no
// topic is made for it.
func TestRefusedJobMakesNoDestination(t *testing.T) {
	b := newBus()
	b.send(srcQueue(0), 1000, "b")
	synctest.Test(t, func(t *testing.T) {
		l := &life{bus: b, jobs: newMemJobs()}
		made := 0
		l.fault = func(point string) error {
			if point == "destination" {
				made++
			}
			return nil
		}
		s, stop := l.start(t, Config{MaxRunning: 1, MaxJobs: 1})
		defer stop()
		ctx := context.Background()
		if _, err := s.Start(ctx, Spec{Source: "src", Destination: "dest", BytesPerSecond: 1}); err != nil {
			t.Fatal(err)
		}
		made = 0
		if _, err := s.Start(ctx, Spec{Source: "src", Destination: "more"}); err == nil || !strings.Contains(err.Error(), "the limit") {
			t.Errorf("a second job of one: %v", err)
		}
		if made != 0 {
			t.Error("a destination was made for the refused job")
		}
	})
}

// TestGivesUp: what fails again and again ends as failed, with the reason, and
// goes on when it is resumed.
func TestGivesUp(t *testing.T) {
	b := newBus()
	b.send(srcQueue(0), 1000, "b")
	synctest.Test(t, func(t *testing.T) {
		l := &life{bus: b, jobs: newMemJobs()}
		full := true
		l.fault = func(point string) error {
			if point == "publish" && full {
				return errors.New("disk full")
			}
			return nil
		}
		s, stop := l.start(t, Config{MaxRetries: 4})
		defer stop()
		began := time.Now()
		job := run(t, s, Spec{Source: "src", Destination: "dest"})
		if job.State != Failed || !strings.Contains(job.Error, "disk full (tried 5 times)") {
			t.Errorf("%s %q", job.State, job.Error)
		}
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("it gave up after %s, want 200+400+800+1600 ms", d)
		}
		l.mu.Lock()
		full = false
		l.mu.Unlock()
		if _, err := s.Resume(t.Context(), job.ID); err != nil {
			t.Fatal(err)
		}
		if job, _ = s.Wait(t.Context(), job.ID); job.State != Done {
			t.Errorf("%s %q", job.State, job.Error)
		}
	})
}

// TestPermanent: an error that no retry helps against fails the job at once,
// and the job can be resumed.
func TestPermanent(t *testing.T) {
	b := newBus()
	b.send(srcQueue(0), 1000, "b")
	l := &life{bus: b, jobs: newMemJobs()}
	errDamaged, reads := errors.New("damaged object x"), 0
	l.fault = func(point string) error {
		if point == "read" {
			if reads++; reads == 1 {
				return errDamaged
			}
		}
		return nil
	}
	s, _ := l.start(t, Config{RetryWait: time.Hour, Permanent: func(err error) bool { return errors.Is(err, errDamaged) }})
	job := run(t, s, Spec{Source: "src", Destination: "dest"})
	if job.State != Failed || !strings.Contains(job.Error, "src@a/0 at 0: damaged object x") {
		t.Fatalf("%s %q", job.State, job.Error)
	}
	if _, err := s.Resume(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if job, _ = s.Wait(t.Context(), job.ID); job.State != Done {
		t.Errorf("%s %q", job.State, job.Error)
	}
}

// TestRate: a paced job keeps its rate over many small waits.
func TestRate(t *testing.T) {
	b := newBus()
	for i := range 3000 {
		b.send(srcQueue(int32(i%3)), 1000, strings.Repeat("x", 100))
	}
	for name, spec := range map[string]Spec{
		"messages": {MessagesPerSecond: 500},
		"bytes":    {BytesPerSecond: 50_000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &life{bus: b, jobs: newMemJobs()}
				s, stop := l.start(t, Config{})
				defer stop()
				spec.Source, spec.Destination = "src", "dest"
				began := time.Now()
				if job := run(t, s, spec); job.State != Done {
					t.Errorf("%s %s", job.State, job.Error)
				}
				if d := time.Since(began); d < 5800*time.Millisecond || d > 6300*time.Millisecond {
					t.Errorf("3000 messages took %s, want 6 s", d)
				}
			})
		})
	}
}

func BenchmarkReplay(b *testing.B) {
	bus := newBus()
	for i := range 100_000 {
		bus.send(srcQueue(int32(i%4)), 1000, strings.Repeat("x", 512), mq.PropTags, "a", mq.PropUniqKey, "0123456789ABCDEF", "KEYS", "k")
	}
	l := &life{bus: bus, jobs: newJobs(b)}
	s, stop := l.start(b, Config{})
	defer stop()
	n := 0
	for b.Loop() {
		job, err := s.Start(context.Background(), Spec{Source: "src", Destination: "dest" + fmt.Sprint(n)})
		if err != nil {
			b.Fatal(err)
		}
		if job, _ = s.Wait(context.Background(), job.ID); job.State != Done {
			b.Fatal(job.Error)
		}
		n++
	}
	b.ReportMetric(float64(n)*100_000/b.Elapsed().Seconds(), "msg/s")
}

// TestDestinationGone deletes a job's destination while it is paused or runs:
// the job fails, says why, and writes no more.
func TestDestinationGone(t *testing.T) {
	dest := mq.Queue{Broker: "a", Topic: "dest", ID: 0}
	for _, tc := range []struct {
		name     string
		again    bool // made again
		others   int  // messages of others in the new one
		running  bool
		wantMore int
	}{
		{name: "deleted"},
		{name: "made again", again: true},
		{name: "made again and longer", again: true, others: 30},
		{name: "deleted while it runs", running: true},
		{name: "made again while it runs", again: true, running: true, wantMore: 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBus()
			for range 20 {
				b.send(srcQueue(0), 1000, "b")
			}
			l := &life{bus: b, jobs: newMemJobs()}
			tenth, goOn, published := make(chan struct{}), make(chan struct{}), 0
			l.fault = func(point string) error {
				if point == "published" {
					if published++; published == 2 {
						close(tenth)
						<-goOn
					}
				}
				return nil
			}
			s, _ := l.start(t, Config{BatchMessages: 5})
			job, err := s.Start(t.Context(), Spec{Source: "src", Destination: "dest"})
			if err != nil {
				t.Fatal(err)
			}
			<-tenth
			remove := func() {
				b.remove("dest", tc.again)
				for range tc.others {
					b.send(dest, 1, "noise")
				}
			}
			if tc.running {
				remove()
				close(goOn)
			} else {
				paused := make(chan error)
				go func() { _, err := s.Pause(t.Context(), job.ID); paused <- err }()
				for j := job; j.State != Paused; { // before the batch ends
					if j, err = s.Get(job.ID); err != nil {
						t.Fatal(err)
					}
				}
				close(goOn)
				if err := <-paused; err != nil {
					t.Fatal(err)
				}
				remove()
				if _, err := s.Resume(t.Context(), job.ID); err != nil {
					t.Fatal(err)
				}
			}
			if job, err = s.Wait(t.Context(), job.ID); err != nil {
				t.Fatal(err)
			}
			if job.State != Failed || !strings.Contains(job.Error, "destination topic of the replay is gone") {
				t.Errorf("the job is %s: %s", job.State, job.Error)
			}
			if got := len(b.replayed(t, "dest", job.ID)["src@a/0 -> 0"]); got != tc.wantMore {
				t.Errorf("%d messages were written to the new topic, want %d", got, tc.wantMore)
			}
		})
	}
}
