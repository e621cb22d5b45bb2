package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// takeQuiet is how long nothing more may come after everything has.
const takeQuiet = 2 * time.Second

// takeAll consumes as a group until so many messages have come, each offset of
// a queue once and none left out, and prints the lowest offset. what is
// "topic,group,messages".
func takeAll(ctx context.Context, lib library, at place, what string) error {
	parts := strings.Split(what, ",")
	if len(parts) != 3 {
		return fmt.Errorf("-take %q is not topic,group,messages", what)
	}
	want, err := strconv.Atoi(parts[2])
	if err != nil {
		return fmt.Errorf("-take %q: %w", what, err)
	}
	ctx, cancel := context.WithTimeout(ctx, scenarioLimit)
	defer cancel()
	var mu sync.Mutex
	seen, total := map[int]map[int64]bool{}, 0
	came := make(chan struct{}, 1)
	c, err := lib.push(at, subscription{group: parts[1], topic: parts[0]}, func(m *message) bool {
		mu.Lock()
		defer mu.Unlock()
		if seen[m.queue] == nil {
			seen[m.queue] = map[int64]bool{}
		}
		if !seen[m.queue][m.offset] {
			seen[m.queue][m.offset] = true
			total++
		}
		if total == want {
			select {
			case came <- struct{}{}:
			default:
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("starting a consumer: %w", err)
	}
	defer func() { _ = c.close() }()
	select {
	case <-came:
		time.Sleep(takeQuiet)
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	if total != want {
		return fmt.Errorf("%d messages came, want %d", total, want)
	}
	lowest := int64(-1)
	for queue, offsets := range seen {
		first, last := int64(-1), int64(-1)
		for o := range offsets {
			if first < 0 || o < first {
				first = o
			}
			last = max(last, o)
		}
		if int(last-first)+1 != len(offsets) {
			return fmt.Errorf("queue %d: %d offsets from %d to %d", queue, len(offsets), first, last)
		}
		if lowest < 0 || first < lowest {
			lowest = first
		}
	}
	fmt.Println(lowest)
	return nil
}
