package golden

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhatWasRecordedIsRecordedAgain has the recorder read each client's frames:
// it keeps all, for the same client.
func TestWhatWasRecordedIsRecordedAgain(t *testing.T) {
	names, err := filepath.Glob("../../broker/front/remoting/testdata/frames/j*.jsonl")
	if err != nil || len(names) == 0 {
		t.Fatalf("recorded frames: %v, %v", names, err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var stream bytes.Buffer
		want := 0
		for line := range bytes.Lines(raw) {
			var l remotingLine
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatal(err)
			}
			if l.Answers == 0 {
				stream.Write(l.Frame)
				want++
			}
		}
		r := &Recorder{kept: map[file]map[shape]request{}}
		readRemoting(r, &stream, strings.NewReader(""))
		f := file{"remoting", strings.TrimSuffix(filepath.Base(name), ".jsonl")}
		if got := len(r.kept[f]); got != want || len(r.kept) != 1 {
			t.Errorf("%s: %d of %d requests, of %d clients", name, got, want, len(r.kept))
		}
	}
}

// TestFieldsAreToldWithoutASchema: bytes are a message or a text.
func TestFieldsAreToldWithoutASchema(t *testing.T) {
	message := []byte("\x0a\x08\x12\x06orders\x10\x03\x1a\x02hi\x20\xff\x01")
	if got := strings.Join(fields(nil, message, "", 0), " "); got != "1.2 1 2=3 3 4" {
		t.Errorf("got %s", got)
	}
	for n := range message {
		fields(nil, message[:n], "", 0) // which ends anywhere
	}
}
