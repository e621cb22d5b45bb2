package archive

import (
	"testing"

	"varve/internal/mq"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

// TestCommitsAskTheSame: a commit asks as much of the store, and puts as much
// into it, late in a table's life as early. Processor time is for
// BenchmarkCommit.
func TestCommitsAskTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("hundreds of commits")
	}
	b := objtest.NewFaulty(mem.New())
	tbl := createTable(t, openArchive(t, b, Options{}), "topic")
	q := mq.Queue{Broker: "varve-a", Topic: "topic"}
	const commits = 320
	var asked []int
	for at := range int64(commits) {
		f := fake(t, tbl, q, mq.Range{From: at, To: at + 1}, 1)
		b.Calls()
		mustAppend(t, tbl, Commit{ID: f.Name, Broker: q.Broker, Epoch: 1, Files: []DataFile{f}})
		asked = append(asked, len(b.Calls()))
	}
	mean := func(from, to int) (sum float64) {
		for _, n := range asked[from:to] {
			sum += float64(n) / float64(to-from)
		}
		return sum
	}
	// Sixty-two commits have two mergers of manifests.
	early, late := mean(64, 126), mean(commits-62, commits)
	if late > early+0.5 || late > 13 {
		t.Errorf("%.2f requests a commit in the end, %.2f before", late, early)
	}
}
