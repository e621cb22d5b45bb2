package app

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"varve/internal/backup"
	"varve/internal/objstore/mem"
	"varve/internal/typed"
)

// TestArchivedSchemas: each version of a topic's schema is found in the bucket
// alone, also of a schema that was removed; what isn't there is said.
func TestArchivedSchemas(t *testing.T) {
	b := mem.New()
	topic := typed.Topic{Name: "orders"}
	for _, doc := range []string{`{"properties":{"n":{"type":"integer"}}}`, `{"properties":{"n":{"type":"integer"},"s":{"type":"string"}}}`} {
		var err error
		if topic, _, err = topic.Declare(typed.Declaration{Format: typed.JSON, Document: []byte(doc)}, typed.Table{}); err != nil {
			t.Fatal(err)
		}
	}
	topic.Off = true
	raw, err := json.Marshal(topic)
	if err != nil {
		t.Fatal(err)
	}
	w := &backup.Writer{Bucket: b, Broker: "varve-a", Now: time.Now, Logger: slog.New(slog.DiscardHandler)}
	if _, _, err := w.Write(t.Context(), backup.Head{Generation: 1}, []backup.Source{{Name: schemaSection, Each: func(fn func(string, []byte) error) error { return fn("orders", raw) }}}); err != nil {
		t.Fatal(err)
	}
	s := NewArchivedSchemas(b)
	for version := 1; version <= 2; version++ {
		l, err := s.Layout(t.Context(), "varve-a", "orders", version)
		if err != nil || l.Version != version || len(l.Columns) != version {
			t.Errorf("version %d: %+v, %v", version, l, err)
		}
		if again, err := s.Layout(t.Context(), "varve-a", "orders", version); err != nil || again != l {
			t.Errorf("again: %v", err)
		}
	}
	for _, c := range []struct {
		broker, topic string
		version       int
	}{{"varve-a", "orders", 3}, {"varve-a", "others", 1}, {"varve-b", "orders", 1}} {
		if _, err := s.Layout(t.Context(), c.broker, c.topic, c.version); err == nil || !strings.Contains(err.Error(), c.topic) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
