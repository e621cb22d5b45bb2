package config

import "fmt"

// Error is a setting that can't be used.
type Error struct {
	Key    string
	Source string // "" where it is a default
	Reason string
	Near   string // the known key nearest to an unknown one
}

func (e *Error) Error() string {
	s := e.Key + ": " + e.Reason
	if e.Near != "" {
		s += fmt.Sprintf("; did you mean %q?", e.Near)
	}
	if e.Source != "" {
		s += " (from " + e.Source + ")"
	}
	return s
}

func unknown(source, key string, known []string) error {
	return &Error{Key: key, Source: source, Reason: "unknown setting", Near: Nearest(key, known)}
}

// Nearest is the known word with the fewest edits to s, "" where none is near:
// a word is that with one edit and one more for every three letters.
func Nearest(s string, known []string) string {
	best, at := "", 2+len(s)/3
	for _, k := range known {
		if d := edits(s, k); d < at {
			best, at = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, diag+1, row[j]+1)
		}
	}
	return row[len(b)]
}
