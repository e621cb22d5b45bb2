package traffic

import (
	"fmt"
	"testing"
	"time"
)

// TestWindows has one series move by known amounts and asks for the windows at
// times that the script names.
func TestWindows(t *testing.T) {
	start := time.UnixMilli(1_700_000_000_000)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	table := NewTable(start)
	key := Key{Kind: Put, Topic: "orders"}
	if _, ok := table.View(key, start); ok {
		t.Fatal("a series that nothing passed is there")
	}
	now := time.Duration(0)
	run := func(until time.Duration, perTick int64) {
		for until > now {
			if perTick > 0 {
				table.Add(key, perTick, perTick*10)
			}
			now += Interval
			table.Tick(at(now))
		}
	}
	check := func(name string, minute, hour, day int64) {
		t.Helper()
		c, ok := table.View(key, at(now))
		if !ok {
			t.Fatalf("%s: no series", name)
		}
		got := fmt.Sprint(c.Minute.Messages, c.Hour.Messages, c.Day.Messages)
		if want := fmt.Sprint(minute, hour, day); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if c.Minute.Span > time.Minute || c.Day.Span > 24*time.Hour {
			t.Errorf("%s: spans %v and %v", name, c.Minute.Span, c.Day.Span)
		}
	}
	run(30*time.Second, 5)
	check("young", 15, 15, 15)
	run(time.Minute, 5)
	check("a minute", 30, 30, 30)
	run(10*time.Minute, 5)
	check("ten minutes", 30, 300, 300)
	run(12*time.Minute, 0)
	check("idle since", 0, 300, 300)
	c, _ := table.View(key, at(now))
	if c.Total.Messages != 300 || c.Total.Bytes != 3000 || c.Total.Times != 60 {
		t.Errorf("total %+v", c.Total)
	}
	run(3*time.Hour, 0)
	check("hours later", 0, 0, 300)
	run(30*time.Hour, 0)
	check("the next day", 0, 0, 0)
	table.Forget(func(k Key) bool { return k.Topic == "orders" })
	if _, ok := table.View(key, at(now)); ok {
		t.Error("a forgotten series is there")
	}
}

func TestRate(t *testing.T) {
	if r := (Count{Messages: 30, Span: time.Minute}).PerSecond(); r != 0.5 {
		t.Errorf("rate %v, want 0.5", r)
	}
	if r := (Count{Messages: 30}).PerSecond(); r != 0 {
		t.Errorf("rate without a span %v", r)
	}
}
