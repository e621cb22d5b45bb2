package app

import (
	"testing"
	"testing/synctest"
	"time"
)

// The gauges of one collection share one look; a later collection looks again.
func TestSharedLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		f := shared(func() int { looks++; return looks })
		for range 13 {
			if f() != 1 {
				t.Errorf("looked %d times for one collection", looks)
			}
		}
		time.Sleep(sharedFor)
		if f() != 2 {
			t.Error("a later collection got old figures")
		}
	})
}
