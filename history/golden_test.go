package history

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// Version 1 of the records is read for ever, and written the same.
func TestGoldenRecords(t *testing.T) {
	for name, into := range map[string]any{"deletion.json": new(Deletion), "removed.json": new(Removed)} {
		want, err := os.ReadFile("testdata/v1/" + name)
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(want))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := json.MarshalIndent(into, "", "  ")
		if err != nil || string(got)+"\n" != string(want) {
			t.Errorf("%s is written as\n%s", name, got)
		}
	}
}
