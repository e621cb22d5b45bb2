package archive

import (
	"errors"
	"strings"
	"testing"

	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

// TestShutUntilConnected asks an archive whose bucket fails in a way that says
// something else of a table.
func TestShutUntilConnected(t *testing.T) {
	ctx := t.Context()
	unsaved := errors.New("not saved")
	remember := unsaved
	a := New(objtest.NewFaulty(mem.New(), objtest.Fault{Op: objtest.Put, Err: objstore.ErrNotFound, Times: 1}),
		Options{OnOpen: func(string) error { return remember }})
	shut := func(when string) {
		t.Helper()
		for what, ask := range map[string]func() error{
			"topics": func() error { _, err := a.Topics(ctx); return err },
			"table":  func() error { _, err := a.Table(ctx, "t"); return err },
			"create": func() error { _, err := a.CreateTable(ctx, "t"); return err },
			"drop":   func() error { return a.DropTable(ctx, "t", "test") },
		} {
			if err := ask(); !errors.Is(err, ErrUnavailable) || Unreadable(err) || !strings.Contains(err.Error(), a.Bucket().URL()) {
				t.Errorf("%s, %s: %v", when, what, err)
			}
		}
		if a.Identity() != "" {
			t.Errorf("%s: identity %s", when, a.Identity())
		}
	}
	shut("before")
	if err := a.Connect(ctx); !errors.Is(err, objstore.ErrNotFound) {
		t.Fatalf("connect: %v", err)
	}
	shut("after a failure")
	if err := a.Connect(ctx); !errors.Is(err, unsaved) {
		t.Fatalf("connect: %v", err)
	}
	shut("while nobody remembers it")
	remember = nil
	for range 2 {
		if err := a.Connect(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.CreateTable(ctx, "t"); err != nil || a.Identity() == "" {
		t.Errorf("open: %v", err)
	}
}
