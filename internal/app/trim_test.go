package app

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestLogAheadOfTheClock has the log say once that a clock has jumped.
func TestLogAheadOfTheClock(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	var c clockWatch
	now := time.UnixMilli(1_000_000_000)
	for _, newest := range []int64{0, now.UnixMilli(), now.Add(time.Second).UnixMilli()} {
		if c.look(newest, now, log); said.Len() > 0 {
			t.Fatalf("newest store time %d at %d: %s", newest, now.UnixMilli(), said.String())
		}
	}
	year := now.AddDate(1, 0, 0).UnixMilli()
	for range 3 {
		c.look(year, now, log)
	}
	c.look(year, now.AddDate(1, 0, 1), log)
	c.look(year, now, log)
	if got := strings.Count(said.String(), "is the clock right?"); got != 2 {
		t.Errorf("said %d times, want once a jump: %s", got, said.String())
	}
}
