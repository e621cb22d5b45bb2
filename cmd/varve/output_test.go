package main

import (
	"strings"
	"testing"
)

// A text that somebody chose stays in its cell.
func TestTablesShowControlCharacters(t *testing.T) {
	var b strings.Builder
	tab := newTable(&b)
	tab.row("NAME", "WHY")
	tab.row("case-1", "ü\nforged  \x1b[31mthe court\tand more")
	if err := tab.w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "NAME    WHY\ncase-1  ü\\nforged  \\x1b[31mthe court\\tand more\n"
	if b.String() != want {
		t.Errorf("%q", b.String())
	}
}
