package connector

import (
	"testing"
	"time"
)

func TestRollRule(t *testing.T) {
	cfg := Config{}.withDefaults()
	r := rollRule{age: cfg.RollAge, ageMax: cfg.RollAgeMax, small: cfg.SmallBytes, filesPerSecond: cfg.FilesPerSecond}
	for _, c := range []struct {
		bytes int64
		open  int
		want  time.Duration
	}{
		{8 << 20, 1, 10 * time.Second},
		{4 << 20, 100, 10 * time.Second},
		{2 << 20, 1, 20 * time.Second},
		{1 << 20, 1, 40 * time.Second},
		{1000, 1, 5 * time.Minute},
		{0, 1, 5 * time.Minute},
		{8 << 20, 1600, 100 * time.Second},
		{1000, 16_000, 1000 * time.Second},
	} {
		if got := r.wait(c.bytes, c.open); got != c.want {
			t.Errorf("%d bytes, %d open: waits %v, want %v", c.bytes, c.open, got, c.want)
		}
		if r.due(c.bytes, c.want-1, c.open, false) || !r.due(c.bytes, c.want, c.open, false) || !r.due(c.bytes, c.want/2, c.open, true) {
			t.Errorf("%d bytes, %d open: due at the wrong time", c.bytes, c.open)
		}
	}
}

// Ten thousand trickling queues make no more files a second than they may.
func TestRollRateOfManyQueues(t *testing.T) {
	cfg := Config{}.withDefaults()
	r := rollRule{age: cfg.RollAge, ageMax: cfg.RollAgeMax, small: cfg.SmallBytes, filesPerSecond: cfg.FilesPerSecond}
	const queues, hours = 10_000, 2
	var files int
	since := make([]int, queues)
	for now := range hours * 3600 {
		for q := range since {
			age := time.Duration(now-since[q]) * time.Second
			if r.due(int64(age/time.Second)*100, age, queues, false) {
				files++
				since[q] = now
			}
		}
	}
	if most := hours * 3600 * cfg.FilesPerSecond; files > most || files == 0 {
		t.Errorf("%d files in %d h, want at most %d", files, hours, most)
	}
}
