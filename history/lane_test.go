package history

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// TestEveryProcessorReadsWhereNothingIsWritten: without sends as many reads
// decode at a time as there are processors, beside sends half as many.
func TestEveryProcessorReadsWhereNothingIsWritten(t *testing.T) {
	c := Config{}.withDefaults()
	n := runtime.GOMAXPROCS(0)
	l := newLane(c.Reads, func() int64 { return 0 })
	if cap(l.places) != n || cap(l.beside) != max(1, n/2) {
		t.Errorf("%d and %d places on %d processors", cap(l.places), cap(l.beside), n)
	}
}

// TestColdReadsGiveWay: a read that computes on and on pauses after each slice
// while the hot log's end moves, and never where it stands.
func TestColdReadsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var end int64
		l := newLane(1, func() int64 { return end })
		leave, err := l.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
		pace := func(what string, want time.Duration) {
			t.Helper()
			at := time.Now()
			l.pace()
			if got := time.Since(at); got != want {
				t.Errorf("%s: paused for %v, want %v", what, got, want)
			}
		}
		work := func(d time.Duration) { time.Sleep(d) } // the bubble's clock: no time passes outside
		work(hotFor + 3*coldSlice)
		pace("nobody sends", 0)
		end++
		pace("the slice has just begun", 0)
		work(coldSlice)
		pace("a slice is over", coldPause)
		pace("the next has begun", 0)
		work(coldSlice)
		pace("the next is over", coldPause)
		work(hotFor)
		pace("sends have stopped", 0)
	})
}

// TestIdleTimeIsNotCold: the time between reads doesn't count, that of one
// after the other adds up.
func TestIdleTimeIsNotCold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var end int64
		l := newLane(2, func() int64 { return end })
		var paused time.Duration
		for range 4 {
			end++
			at := time.Now()
			leave, err := l.enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			paused += time.Since(at)
			time.Sleep(coldSlice / 2)
			leave()
			time.Sleep(10 * coldSlice)
		}
		if paused != coldPause {
			t.Errorf("four reads of half a slice each paused for %v, want %v once", paused, coldPause)
		}
	})
}

// TestFewerPlacesBesideSends: all places while nobody sends, half of them while
// somebody does.
func TestFewerPlacesBesideSends(t *testing.T) {
	var end int64
	l := newLane(2, func() int64 { return end })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	enter := func() func() {
		t.Helper()
		leave, err := l.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return leave
	}
	first, second := enter(), enter()
	first()
	second()
	end++
	first = enter()
	if _, err := l.enter(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("a second read beside sends: %v", err)
	}
	first()
	enter()()
	if len(l.places) != 0 || len(l.beside) != 0 {
		t.Errorf("%d and %d places are still taken", len(l.places), len(l.beside))
	}
}
