package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"varve/internal/admin"
)

// TestAnotherArchiveWhileRunning swaps the archive's directory under a running
// node: nothing is read from the other one, the node says so, and all is well
// when the right one is back.
func TestAnotherArchiveWhileRunning(t *testing.T) {
	other := settings(t)
	filled(t, other)
	c := settings(t)
	filled(t, c)
	mine, away := filepath.Join(c.DataDir, "archive"), filepath.Join(c.DataDir, "away")
	foreign := filepath.Join(other.DataDir, "archive")
	n, api, _ := run(t, c)
	readAll(t, api, "orders", 0, 300)
	send(t, api, "orders", 300, 310)
	swap := func(moves ...string) {
		t.Helper()
		for i := 0; i < len(moves); i += 2 {
			if err := os.Rename(moves[i], moves[i+1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	swap(mine, away, foreign, mine)
	var e *admin.Error
	if err := ask(t, api, "select count(*) from orders"); !asAPI(err, &e) || e.Code != admin.CodeUnavailable || !strings.Contains(e.Message, "another archive") {
		t.Errorf("query: %v", err)
	}
	awaitCause(t, n, "is not the archive that the data directory")
	if st, err := api.ArchiveStatus(t.Context()); err != nil || !strings.Contains(st.Unreached, "another archive") {
		t.Errorf("status %+v, %v", st, err)
	}
	if _, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: "orders", Offset: 10, Max: 10}); !asAPI(err, &e) || e.Code != admin.CodeUnavailable {
		t.Errorf("cold read: %v", err)
	}
	swap(mine, foreign, away, mine)
	awaitReady(t, n)
	// The connector's own pause may be longer than that.
	for end := time.Now().Add(60 * time.Second); api.Flush(t.Context()) != nil; {
		if time.Now().After(end) {
			t.Fatalf("flush: %v", api.Flush(t.Context()))
		}
	}
	readAll(t, api, "orders", 0, 310)
	if got := countRows(t, api, "orders"); got != "310" {
		t.Errorf("SQL counts %s", got)
	}
}
