package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/internal/admin"
	"varve/internal/config"
)

// TestAbandonedArchive starts a node whose archive is lost: only the typed-in
// identity of that archive lets it begin another one, and that is done once.
func TestAbandonedArchive(t *testing.T) {
	c := settings(t)
	n, api, stop := run(t, c)
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "orders", Queues: 1}); err != nil {
		t.Fatal(err)
	}
	send(t, api, "orders", 0, 100)
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Trim(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	lost := n.archive.Identity()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(c.DataDir, "archive")); err != nil {
		t.Fatal(err)
	}
	c.Archive.Abandon = "another"
	if n, err := Open(t.Context(), c, Options{}); err == nil {
		n.closeAll()
		t.Fatal("it abandons an archive that it doesn't have")
	} else if bad := new(config.Error); !errors.As(err, &bad) || bad.Key != "archive.abandon" || !strings.Contains(err.Error(), lost) {
		t.Errorf("wrong identity: %v", err)
	}
	c.Archive.Abandon = lost
	for range 2 {
		n, api, stop = run(t, c)
		if n.archive.Identity() == lost {
			t.Error("the new archive has the old one's identity")
		}
		send(t, api, "orders", 100, 150)
		if err := api.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	_, api, stop = run(t, c)
	s, err := api.ArchiveStatus(t.Context())
	if err != nil || len(s.Topics) != 1 || len(s.Blocked) != 0 || s.Topics[0].Messages != 100 || s.Topics[0].RawBytes == 0 {
		t.Errorf("status %+v, %v", s, err)
	} else if g := s.Topics[0].Gaps; len(g) != 1 || g[0].From != 0 || g[0].To != 100 {
		t.Errorf("gaps %+v", g)
	}
	if got := countRows(t, api, "orders"); got != "100" {
		t.Errorf("SQL counts %s", got)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
