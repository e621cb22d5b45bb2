package fronttest

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"
)

// Recorded gives each client's requests, by the client's name, of a front's
// folder testdata/frames.
func Recorded[T any](t testing.TB, frames fs.FS) map[string][]T {
	t.Helper()
	names, err := fs.Glob(frames, "*.jsonl")
	if err != nil || len(names) == 0 {
		t.Fatalf("recorded requests: %v, %v", names, err)
	}
	all := map[string][]T{}
	for _, name := range names {
		raw, err := fs.ReadFile(frames, name)
		if err != nil {
			t.Fatal(err)
		}
		client := strings.TrimSuffix(name, ".jsonl")
		for line := range bytes.Lines(raw) {
			var r T
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all[client] = append(all[client], r)
		}
	}
	return all
}
