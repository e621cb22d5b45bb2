package nearest

import "strings"

// Word is the known word with the fewest edits to s, case aside, "" where none
// is near: a word is that with one edit and one more for every three letters.
func Word(s string, known []string) string {
	best, at := "", 2+len(s)/3
	for _, k := range known {
		if d := edits(strings.ToLower(s), strings.ToLower(k)); d < at {
			best, at = k, d
		}
	}
	return best
}

// edits is the number of bytes to insert, remove or replace to make b of a.
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
