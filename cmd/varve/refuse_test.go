package main

import (
	"io"
	"strings"
	"testing"
)

// TestNumbersBelowZero are refused before a server is asked.
func TestNumbersBelowZero(t *testing.T) {
	for _, line := range []string{"message send orders body --queue -1", "transaction list --max -1", "message read orders --queue 0 --offset -7"} {
		if code := run(strings.Fields(line), strings.NewReader(""), io.Discard, io.Discard); code != exitUsage {
			t.Errorf("varve %s ends with %d, want %d", line, code, exitUsage)
		}
	}
}
