package audit

import (
	"context"
	"errors"
	"strings"
	"testing"

	"varve/internal/archive"
	"varve/internal/objstore/mem"
)

// TestSinceOfAnotherScope: what an earlier report and this run don't both look
// at is not compared, and the report says so.
func TestSinceOfAnotherScope(t *testing.T) {
	e := fill(t)
	whole := e.audit(Options{})
	if rep := e.audit(Options{Since: whole}); rep.Compared != 1 || len(rep.NotCovered) != 0 {
		t.Errorf("of the same scope: %d compared, not covered %+v", rep.Compared, rep.NotCovered)
	}
	if _, err := e.a.CreateTable(t.Context(), "people"); err != nil {
		t.Fatal(err)
	}
	rep := e.audit(Options{Since: whole, Topics: []string{"people"}})
	if rep.Compared != 0 || len(rep.NotCovered) != 2 {
		t.Fatalf("of another scope: %d compared, not covered %+v", rep.Compared, rep.NotCovered)
	}
	for i, want := range []string{"not asked for", "has nothing of it"} {
		if n := rep.NotCovered[i]; n.Topic != []string{topic, "people"}[i] || !strings.Contains(n.Why, want) {
			t.Errorf("not covered %+v, want %q", n, want)
		}
	}
}

// TestATopicThatIsNotThere is nothing to audit, unless an earlier report had it.
func TestATopicThatIsNotThere(t *testing.T) {
	e := fill(t)
	whole := e.audit(Options{})
	a, err := archive.OpenReadOnly(t.Context(), e.b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), a, Options{Topics: []string{"ordres"}, Since: whole}); !errors.Is(err, ErrNoTopic) {
		t.Errorf("a topic that never was: %v", err)
	}
	whole.Heads[0].Topic = "payments"
	e.one(e.audit(Options{Topics: []string{"payments"}, Since: whole}), "the archive has none")
	if _, err := archive.OpenReadOnly(context.Background(), mem.New(), archive.Options{}); !errors.Is(err, archive.ErrNoArchive) || errors.Is(err, archive.ErrIdentity) {
		t.Errorf("an empty bucket: %v", err)
	}
	if rep := e.audit(Options{Parallel: -3}); !rep.OK {
		t.Errorf("%+v", rep)
	}
}
