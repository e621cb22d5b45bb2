package replay

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"varve/internal/mq"
)

// TestExactlyOnce crashes a service at random points, with and without losing
// what was not flushed, breaks calls before and after their effect, pauses and
// resumes, while others write to the destination too: every message that the
// filter keeps is there once, in its queue's order.
func TestExactlyOnce(t *testing.T) {
	jobs := newJobs(t)
	rapid.Check(t, func(rt *rapid.T) { exactlyOnce(t, rt, jobs) })
}

func exactlyOnce(t *testing.T, rt *rapid.T, jobs Jobs) {
	b := newBus()
	sources := rapid.IntRange(1, 4).Draw(rt, "source queues")
	want := map[string][]string{}
	dests := rapid.IntRange(1, 3).Draw(rt, "destination queues")
	for i := range dests {
		b.log(mq.Queue{Broker: "a", Topic: "dest", ID: int32(i)})
	}
	for i := range sources {
		q := mq.Queue{Broker: "a", Topic: "src", ID: int32(i)}
		b.log(q)
		n := rapid.IntRange(0, 60).Draw(rt, "messages")
		key := fmt.Sprintf("%s -> %d", q, i%dests)
		for off := range n {
			tag := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(rt, "tag")
			b.send(q, int64(1000+off), "body", mq.PropTags, tag)
			if tag != "z" {
				want[key] = append(want[key], fmt.Sprint(off))
			}
		}
	}
	cfg := Config{
		BatchMessages: rapid.IntRange(1, 9).Draw(rt, "batch"), Parallel: rapid.IntRange(1, 3).Draw(rt, "parallel"),
		Checkpoint: time.Millisecond, RetryWait: 50 * time.Microsecond, MaxRetries: 1000,
	}
	first := &life{bus: b, jobs: jobs}
	s, err := New(cfg, source{first}, first, publisher{first})
	if err != nil {
		rt.Fatal(err)
	}
	job, err := s.Start(context.Background(), Spec{Source: "src", Destination: "dest", Tag: "x || y"})
	if err != nil {
		rt.Fatal(err)
	}
	lives := rapid.IntRange(0, 5).Draw(rt, "crashes")
	for range lives {
		oneLife(t, rt, b, jobs, cfg, job.ID)
	}
	last := &life{bus: b, jobs: jobs}
	s, stop := last.start(t, cfg)
	done := finish(rt, s, job.ID)
	stop()
	if done.State != Done {
		rt.Fatalf("the job is %s: %s", done.State, done.Error)
	}
	got := b.replayed(t, "dest", job.ID)
	if len(got) != len(want) {
		rt.Fatalf("got %v\nwant %v", got, want)
	}
	total := int64(0)
	for key := range want {
		total += int64(len(want[key]))
		if fmt.Sprint(got[key]) != fmt.Sprint(want[key]) {
			rt.Fatalf("%s: got %v\nwant %v", key, got[key], want[key])
		}
	}
	if p := done.Progress(); p.Written != total || p.Read != p.Offsets {
		rt.Fatalf("progress %+v, want %d written", p, total)
	}
}

// oneLife runs a service until it crashes, or is asked to stop.
func oneLife(t *testing.T, rt *rapid.T, b *bus, jobs Jobs, cfg Config, id string) {
	left := rapid.IntRange(1, 60).Draw(rt, "calls until the crash")
	broken := rapid.IntRange(0, 4).Draw(rt, "broken calls in ten")
	powerCut := rapid.Bool().Draw(rt, "power cut")
	pause := rapid.IntRange(0, 3).Draw(rt, "pause") == 0
	dead := make(chan struct{})
	calls := 0
	l := &life{bus: b, jobs: jobs}
	l.fault = func(point string) error {
		calls++
		if left--; left == 0 {
			close(dead)
			return errCrash
		}
		if (calls*7919)%10 < broken && point != "queues" {
			return errors.New("broken at " + point)
		}
		if calls%5 == 0 { // somebody else's message, behind the life's lock
			go b.send(mq.Queue{Broker: "a", Topic: "dest", ID: 0}, 1, "noise")
		}
		return nil
	}
	s, stop := l.start(t, cfg)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-dead:
				cancel()
			case <-ctx.Done():
			}
		}()
		if pause {
			if _, err := s.Pause(ctx, id); err == nil {
				s.Resume(ctx, id)
			}
		}
		s.Wait(ctx, id)
	}()
	<-finished
	stop()
	if powerCut && l.crashed() {
		b.powerCut()
	}
}

// finish resumes the job if a life left it paused or failed, and waits.
func finish(rt *rapid.T, s *Service, id string) Job {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	job, err := s.Get(id)
	if err != nil {
		rt.Fatal(err)
	}
	if job.State == Paused || job.State == Failed {
		if _, err := s.Resume(ctx, id); err != nil {
			rt.Fatal(err)
		}
	}
	if job, err = s.Wait(ctx, id); err != nil {
		rt.Fatalf("the job doesn't end: %v, %+v", err, job)
	}
	return job
}
