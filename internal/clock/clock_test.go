package clock

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// machine is a clock that can be set.
type machine struct {
	*Clock
	set   time.Duration // what it was set by
	began time.Time
	t     *testing.T
}

func withMachine(t *testing.T, test func(m *machine)) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{t: t, began: time.Now()}
		m.Clock = start(slog.New(slog.DiscardHandler),
			func() time.Time { return time.Now().Round(0).Add(m.set) },
			func() time.Duration { return time.Since(m.began) })
		test(m)
	})
}

// pass lets time pass, with a look a second.
func (m *machine) pass(d time.Duration) {
	for ; d > 0; d -= lookEvery {
		time.Sleep(lookEvery)
		m.look()
	}
}

// off is how far the time is from what really passed.
func (m *machine) off(want time.Duration) {
	m.t.Helper()
	if got := m.Now().Sub(time.Now().Round(0)); got != want {
		m.t.Errorf("the time is off by %v, want %v", got, want)
	}
}

func TestJumpsThatAreTakenBackNeverHappen(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 365 * 24 * time.Hour, time.Second} {
		withMachine(t, func(m *machine) {
			m.pass(10 * time.Second)
			m.set = jump
			m.off(0)
			m.pass(Hold - time.Second)
			m.off(0)
			m.set = 0
			m.pass(2 * Hold)
			m.off(0)
		})
	}
}

func TestJumpsThatStayAreBelieved(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		withMachine(t, func(m *machine) {
			m.set = jump
			m.pass(Hold)
			m.off(0)
			m.pass(2 * time.Second)
			m.off(jump)
			m.set = 0
			m.pass(Hold)
			m.off(jump)
			m.pass(2 * time.Second)
			m.off(0)
		})
	}
}

// TestASecondJumpBeginsAnew: only what stood for Hold is believed.
func TestASecondJumpBeginsAnew(t *testing.T) {
	withMachine(t, func(m *machine) {
		m.set = time.Hour
		m.pass(Hold / 2)
		m.set = 2 * time.Hour
		m.pass(Hold - time.Second)
		m.off(0)
		m.pass(3 * time.Second)
		m.off(2 * time.Hour)
	})
}

// TestDriftIsFollowed: a clock that is slewed is followed at once.
func TestDriftIsFollowed(t *testing.T) {
	withMachine(t, func(m *machine) {
		for range 100 {
			m.set += 100 * time.Millisecond
			m.pass(lookEvery)
			m.off(m.set)
		}
	})
}
