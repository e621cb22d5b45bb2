package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// stuck is an archive that has everything from first on and doesn't answer
// before it is told to.
type stuck struct {
	*hot.Store
	first, end int64
	asked      chan struct{}
	answer     chan struct{}
	fail       error
}

func (s *stuck) Range(_ context.Context, _ mq.Queue) (mq.Range, error) {
	return mq.Range{From: s.first, To: s.end}, s.fail
}

func (s *stuck) Read(ctx context.Context, _ mq.Queue, at int64, _ mq.Limit) (mq.Batch, error) {
	s.asked <- struct{}{}
	select {
	case <-s.answer:
		return mq.Batch{Next: at + 1, Range: mq.Range{From: s.first, To: s.end}}, nil
	case <-ctx.Done():
		return mq.Batch{}, ctx.Err()
	}
}

// coldRig is a broker whose queue orders/0 is trimmed up to 10.
func coldRig(t *testing.T) (*rig, *stuck) {
	cold := &stuck{end: 10, asked: make(chan struct{}, 2*maxColdWaiting), answer: make(chan struct{})}
	r := newRig(t, vfs.NewMem(), func(c *Config, d *Deps) {
		cold.Store = d.Log
		c.MaxColdReads = 2
		d.Reader = cold
	})
	for i := range 10 {
		r.send(message("orders", 0, fmt.Sprint(i)))
	}
	s := &story{rig: r, cold: &archived{queues: map[mq.Queue][]mq.Record{}}}
	if err := s.archive(); err != nil {
		t.Fatal(err)
	}
	return r, cold
}

func TestColdReadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, cold := coldRig(t)
		defer r.stop()
		var waiting []<-chan pulled
		for range maxColdWaiting {
			waiting = append(waiting, r.pullAsync(inline("orders", 0, 3)))
		}
		synctest.Wait()
		if n := len(cold.asked); n != 2 {
			t.Errorf("%d cold reads run at once, want 2", n)
		}
		if p := <-r.pullAsync(inline("orders", 0, 3)); !errors.Is(p.err, ErrBusy) {
			t.Errorf("one more is answered %v", p)
		}
		if got := r.send(message("orders", 0, "hot")); got.QueueOffset != 10 {
			t.Errorf("a send meanwhile is at %d", got.QueueOffset)
		}
		if p := <-r.pullAsync(inline("orders", 0, 10)); p.err != nil || p.Next != 11 {
			t.Errorf("a hot pull meanwhile is answered %v", p)
		}
		close(cold.answer)
		for _, ch := range waiting {
			if p := <-ch; p.err != nil || p.Status != PullNoMatch || p.Next != 4 {
				t.Errorf("a cold pull is answered %v", p)
			}
		}
	})
}

func TestColdReadsEndWithTheirClientAndTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := coldRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 4)
		for range 4 { // two read, two wait
			req := inline("orders", 0, 3)
			r.Pull(ctx, &req, func(_ PullResult, err error) { left <- err })
		}
		synctest.Wait()
		cancel()
		for range 4 {
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Errorf("a pull whose client left gets %v", err)
			}
		}
		reading := r.pullAsync(inline("orders", 0, 3))
		synctest.Wait()
		r.stop()
		if p := <-reading; !errors.Is(p.err, context.Canceled) {
			t.Errorf("a pull that was reading at the end gets %v", p)
		}
	})
}

func TestColdRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, cold := coldRig(t)
		defer r.stop()
		close(cold.answer)
		cold.first = 5 // retention took what was below
		if p := <-r.pullAsync(inline("orders", 0, 3)); p.Status != PullMoved || p.Next != 5 {
			t.Errorf("below the archive: %v", p)
		}
		if p := <-r.pullAsync(inline("orders", 0, 10)); p.Status != PullNoNew || p.Min != 5 {
			t.Errorf("at the end: %v", p)
		}
		if off, err := r.EarliestTime(t.Context(), "orders", 0); err == nil {
			t.Errorf("earliest time is %d", off)
		}
		cold.fail = errors.New("bucket is away")
		for at := range int64(10) {
			if p := <-r.pullAsync(inline("orders", 0, at)); !errors.Is(p.err, cold.fail) {
				t.Errorf("at %d with the bucket away: %v", at, p)
			}
		}
		if _, err := r.QueueRange(t.Context(), "orders", 0); !errors.Is(err, cold.fail) {
			t.Errorf("range with the bucket away: error %v", err)
		}
	})
}

func TestErrorsOfTheStoresHaveNames(t *testing.T) {
	for from, to := range map[error]error{
		hot.ErrBusy: ErrBusy, hot.ErrDiskFull: ErrDiskFull, meta.ErrDiskFull: ErrDiskFull, hot.ErrClosed: ErrClosed, hot.ErrTooLarge: ErrIllegalMessage,
	} {
		err := storeError(fmt.Errorf("append: %w", from))
		if !errors.Is(err, to) || !errors.Is(err, from) {
			t.Errorf("%v becomes %v, want %v too", from, err, to)
		}
	}
	if err := storeError(hot.ErrFailed); !errors.Is(err, hot.ErrFailed) {
		t.Errorf("%v becomes %v", hot.ErrFailed, err)
	}
}

func TestBadSettings(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.DelayLevels = "1s x" }, `level 2 is "x"`},
		{func(c *Config) { c.MaxBodyBytes = 5 << 20 }, "max body of 5242880 bytes"},
		{func(c *Config) { c.MaxHeldPulls = -1 }, "held pulls is negative"},
		{func(c *Config) { c.HistoryBrokerID = -1 }, "history broker id -1"},
	} {
		cfg := DefaultConfig()
		c.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
		if _, err := New(cfg, Deps{}); err == nil {
			t.Error("a broker starts with bad settings")
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}
