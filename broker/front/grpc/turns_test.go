package grpc

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"varve/broker"
)

// A connection's sends wait in line while it has more than its share at the
// log, in the order in which they came.
func TestSendsOfAConnectionTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share := int64(freeBytes)
		turns := &turns{all: new(lines), share: func() int64 { return share }}
		take := func(ctx context.Context, n int64) error { return turns.take(ctx, n) }
		if err := take(t.Context(), freeBytes+1); err != nil { // a large one, alone
			t.Fatal(err)
		}
		var came []int
		for i := range 3 {
			go func() {
				if err := take(t.Context(), freeBytes+1); err != nil {
					t.Error(err)
				}
				came = append(came, i)
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { gone <- take(ctx, 10) }()
		synctest.Wait()
		if turns.lined != 3*freeBytes+13 {
			t.Errorf("%d bytes in line", turns.lined)
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) || turns.lined != 3*freeBytes+3 {
			t.Errorf("who left: %v, %d bytes in line", err, turns.lined)
		}
		for i, want := range [][]int{{0}, {0, 1}, {0, 1, 2}} {
			turns.give(freeBytes + 1)
			synctest.Wait()
			if !slices.Equal(came, want) {
				t.Errorf("after %d answers %v have come, want %v", i+1, came, want)
			}
		}
		share = 4 * freeBytes
		for range 2 { // within the share there is no line
			if err := take(t.Context(), freeBytes); err != nil {
				t.Fatal(err)
			}
		}
		turns.give(3*freeBytes + 1)
		if turns.waiting != 0 || turns.lined != 0 {
			t.Errorf("%d bytes wait and %d are in line, and all are answered", turns.waiting, turns.lined)
		}
	})
}

// The line is bounded: who sends more is told to come again.
func TestTheLineOfAConnectionIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := &turns{all: new(lines), share: func() int64 { return 0 }}
		if err := turns.take(t.Context(), freeBytes+1); err != nil {
			t.Fatal(err)
		}
		go func() { _ = turns.take(t.Context(), lineBytes) }()
		synctest.Wait()
		if err := turns.take(t.Context(), 1); !errors.Is(err, broker.ErrBusy) {
			t.Errorf("a send behind a full line: %v", err)
		}
		turns.give(freeBytes + 1)
		synctest.Wait()
		turns.give(lineBytes)
		if err := turns.take(t.Context(), 1); err != nil {
			t.Errorf("a send when the line is gone: %v", err)
		}
	})
}

// Many lines are short ones.
func TestAllLinesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := new(lines)
		begin := func() *turns {
			c := &turns{all: all, share: func() int64 { return 0 }}
			if err := c.take(t.Context(), freeBytes+1); err != nil {
				t.Fatal(err)
			}
			return c
		}
		ctx, leave := context.WithCancel(t.Context())
		for range 3 {
			long := begin()
			go func() { _ = long.take(ctx, lineBytes) }()
		}
		synctest.Wait()
		last := begin()
		go func() { _ = last.take(ctx, crampedLine) }()
		synctest.Wait()
		if err := last.take(ctx, 1); !errors.Is(err, broker.ErrBusy) {
			t.Errorf("a second mebibyte in line beside long lines: %v", err)
		}
		leave()
		synctest.Wait()
		if n, b := all.sends.Load(), all.bytes.Load(); n != 0 || b != 0 {
			t.Errorf("%d sends and %d bytes are in line when all have left", n, b)
		}
	})
}
