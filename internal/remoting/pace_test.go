package remoting

import "testing"

// A lone caller, whose next request comes after its answer, never waits.
func TestLoneCallerIsNotPaced(t *testing.T) {
	var p pace
	for n := range 10_000 {
		if p.next(1, n%5 == 0) {
			t.Fatalf("paused after read %d", n)
		}
	}
}

// Many callers on one connection are paced for as long as pauses bring several
// requests, and left alone for a while after one that doesn't.
func TestManyCallersArePaced(t *testing.T) {
	var p pace
	n := 0
	for !p.next(1, true) {
		if n++; n > 10*readyWeight {
			t.Fatalf("no pause after %d reads", n)
		}
	}
	for range 1000 {
		if !p.next(pauseWorth, true) {
			t.Fatal("a pause that was worth it was the last")
		}
	}
	if p.next(pauseWorth-1, true) {
		t.Fatal("a pause that brought little was repeated")
	}
	for n := range pauseRest {
		if p.next(1, true) {
			t.Fatalf("paused %d reads after one that brought little", n)
		}
	}
}

// Requests that come many at a time, and connections that post nothing, are
// read at once.
func TestOthersAreNotPaced(t *testing.T) {
	for _, posts := range []int{0, pauseWorth, 50} {
		var p pace
		for n := range 10_000 {
			if p.next(posts, true) {
				t.Fatalf("%d posts a read: paused after read %d", posts, n)
			}
		}
	}
}
