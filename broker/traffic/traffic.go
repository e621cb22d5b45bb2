package traffic

import (
	"sync"
	"sync/atomic"
	"time"
)

// Kind is what is counted.
type Kind uint8

// Kinds, with what Key names of each.
const (
	Put      Kind = iota // messages sent to a topic
	Get                  // messages of a topic given to a group
	SendBack             // messages of a topic given back by a group
)

// Key is one series.
type Key struct {
	Kind         Kind
	Topic, Group string
}

// maxSeries bounds a Table; what comes after is not counted.
const maxSeries = 200_000

// Interval is how often Tick wants to be called.
const Interval = 10 * time.Second

// Windows that View looks back.
const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// Count is what fell into one window.
type Count struct {
	Messages, Bytes, Times int64
	// Span is how long the window is; shorter while the process is young.
	Span time.Duration
}

// PerSecond is the rate of messages.
func (c Count) PerSecond() float64 {
	if c.Span <= 0 {
		return 0
	}
	return float64(c.Messages) / c.Span.Seconds()
}

// BytesPerSecond is the rate of bytes.
func (c Count) BytesPerSecond() float64 {
	if c.Span <= 0 {
		return 0
	}
	return float64(c.Bytes) / c.Span.Seconds()
}

// Counts is one series over the windows.
type Counts struct {
	Total             Count // since the process began
	Minute, Hour, Day Count
}

// Table is all series.
type Table struct {
	start int64 // milliseconds

	mu     sync.RWMutex
	series map[Key]*series
}

type series struct {
	messages, bytes, times atomic.Int64

	mu                sync.Mutex
	minute, hour, day ring
}

// sample is the count at a time.
type sample struct {
	at                     int64 // milliseconds
	messages, bytes, times int64
}

// ring is the last samples of a window, each at least step after the one
// before it and different from it. With more places than the window has steps
// it always reaches back far enough.
type ring struct {
	samples []sample // in the order of time
}

const (
	minutePlaces = 8  // of Interval
	hourPlaces   = 14 // of 5 minutes
	dayPlaces    = 26 // of an hour
)

func (r *ring) note(s sample, step time.Duration, places int) {
	if n := len(r.samples); n > 0 {
		last := r.samples[n-1]
		if s.at-last.at < step.Milliseconds() || s.times == last.times && s.messages == last.messages {
			return
		}
	}
	if len(r.samples) == places {
		copy(r.samples, r.samples[1:])
		r.samples = r.samples[:places-1]
	}
	r.samples = append(r.samples, s)
}

// since gives what came after the window began.
func (r *ring) since(now sample, window time.Duration, start int64, places int) Count {
	from := now.at - window.Milliseconds()
	base := sample{at: start}
	if len(r.samples) == places {
		base = r.samples[0]
	}
	for _, s := range r.samples {
		if s.at > from {
			break
		}
		base = s
	}
	base.at = max(base.at, from) // nothing moved between the sample and the window
	return Count{
		Messages: now.messages - base.messages, Bytes: now.bytes - base.bytes, Times: now.times - base.times,
		Span: time.Duration(now.at-base.at) * time.Millisecond,
	}
}

// NewTable makes an empty table.
func NewTable(now time.Time) *Table {
	return &Table{start: now.UnixMilli(), series: map[Key]*series{}}
}

// Add counts messages that passed together. The strings of k are kept: they
// must be its own.
func (t *Table) Add(k Key, messages, bytes int64) {
	s := t.find(k)
	if s == nil {
		if s = t.add(k); s == nil {
			return
		}
	}
	s.messages.Add(messages)
	s.bytes.Add(bytes)
	s.times.Add(1)
}

// Set gives a series that is counted elsewhere its totals.
func (t *Table) Set(k Key, messages, bytes, times int64) {
	if s := t.add(k); s != nil {
		s.messages.Store(messages)
		s.bytes.Store(bytes)
		s.times.Store(times)
	}
}

func (t *Table) find(k Key) *series {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.series[k]
}

func (t *Table) add(k Key) *series {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.series[k]; s != nil {
		return s
	}
	if len(t.series) >= maxSeries {
		return nil
	}
	s := &series{}
	t.series[k] = s
	return s
}

// Forget drops the series that gone names.
func (t *Table) Forget(gone func(Key) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.series {
		if gone(k) {
			delete(t.series, k)
		}
	}
}

// Tick notes the counts that have moved.
func (t *Table) Tick(now time.Time) {
	t.mu.RLock()
	all := make([]*series, 0, len(t.series))
	for _, s := range t.series {
		all = append(all, s)
	}
	t.mu.RUnlock()
	for _, s := range all {
		s.note(now)
	}
}

func (s *series) now(at time.Time) sample {
	return sample{at.UnixMilli(), s.messages.Load(), s.bytes.Load(), s.times.Load()}
}

func (s *series) note(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.now(at)
	s.minute.note(n, Interval/2, minutePlaces)
	s.hour.note(n, 5*time.Minute, hourPlaces)
	s.day.note(n, time.Hour, dayPlaces)
}

// View gives a series; false where nothing of it has passed yet.
func (t *Table) View(k Key, now time.Time) (Counts, bool) {
	s := t.find(k)
	if s == nil {
		return Counts{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.now(now)
	return Counts{
		Total:  Count{n.messages, n.bytes, n.times, time.Duration(n.at-t.start) * time.Millisecond},
		Minute: s.minute.since(n, minute, t.start, minutePlaces),
		Hour:   s.hour.since(n, hour, t.start, hourPlaces),
		Day:    s.day.since(n, day, t.start, dayPlaces),
	}, true
}
