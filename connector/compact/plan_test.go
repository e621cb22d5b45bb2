package compact

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
)

var (
	queue = mq.Queue{Broker: "b", Topic: "t"}
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// small makes n files that follow each other, one every so often from a time on.
func small(n int, from time.Time, every time.Duration, size int64) (out []archive.DataFile) {
	for i := range n {
		at := from.Add(time.Duration(i) * every)
		r := mq.Range{From: int64(i) * 10, To: int64(i)*10 + 10}
		out = append(out, archive.DataFile{
			Name: fmt.Sprint("f", i), Queue: queue, Offsets: r, Rows: 10, Bytes: size,
			FirstStoreMillis: at.UnixMilli(), LastStoreMillis: at.Add(every - time.Millisecond).UnixMilli(),
		})
	}
	return out
}

func lengths(runs [][]archive.DataFile) (out []int) {
	for _, r := range runs {
		out = append(out, len(r))
	}
	return out
}

func TestPlan(t *testing.T) {
	gap := small(40, noon.Add(-6*time.Hour), time.Minute, 1<<20)
	gap[20].Offsets = mq.Range{From: 9000, To: 9010}
	full := small(20, noon.Add(-6*time.Hour), time.Minute, 1<<20)
	full[10].Bytes = 200 << 20
	levels := small(40, noon.Add(-6*time.Hour), time.Minute, 1<<20)
	for i := range 15 {
		levels[i].Parts = 16
	}
	schemas := small(40, noon.Add(-6*time.Hour), time.Minute, 1<<10)
	for i := range schemas {
		schemas[i].Schema = []int64{0, 1, 2}[i/18]
	}
	for what, c := range map[string]struct {
		files []archive.DataFile
		force bool
		want  string
	}{
		"nothing":                         {nil, false, "[]"},
		"too few":                         {small(15, noon.Add(-time.Hour), time.Second, 1<<10), false, "[]"},
		"sixteen":                         {small(16, noon.Add(-time.Hour), time.Second, 1<<10), false, "[16]"},
		"twice sixteen and some":          {small(40, noon.Add(-time.Hour), time.Second, 1<<10), false, "[16 16]"},
		"fresh":                           {small(16, noon.Add(-5*time.Minute), time.Second, 1<<10), false, "[]"},
		"fresh, by force":                 {small(16, noon.Add(-5*time.Minute), time.Second, 1<<10), true, "[16]"},
		"enough for a file":               {small(4, noon.Add(-time.Hour), time.Second, 40<<20), false, "[4]"},
		"more than a file":                {small(15, noon.Add(-time.Hour), time.Second, 40<<20), false, "[6 6]"},
		"of yesterday":                    {small(3, noon.Add(-24*time.Hour), time.Second, 1<<10), false, "[3]"},
		"one of yesterday":                {small(1, noon.Add(-24*time.Hour), time.Second, 1<<10), false, "[]"},
		"over midnight":                   {small(60, noon.Add(-36*time.Hour), 30*time.Minute, 1<<10), false, "[48]"},
		"a gap":                           {gap, false, "[16 16]"},
		"a full one between":              {full, false, "[]"},
		"a full one between, by force":    {full, true, "[10 9]"},
		"levels":                          {levels, false, "[16]"},
		"schemas":                         {schemas, false, "[16 16]"},
		"schemas, by force":               {schemas, true, "[18 18 4]"},
		"a day just over is not settled":  {small(3, noon.Add(-12*time.Hour-time.Minute), 10*time.Second, 1<<10), false, "[3]"},
		"many, by force":                  {small(1200, noon.Add(-6*time.Hour), time.Second, 1<<10), true, "[512 512 176]"},
		"two that are too large together": {small(2, noon.Add(-24*time.Hour), time.Second, 127<<20), false, "[2]"},
	} {
		if got := fmt.Sprint(lengths(Rules{}.Plan(c.files, noon, nil, c.force))); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
	skip := func(name string) bool { return name == "f8" }
	if got := lengths(Rules{}.Plan(small(30, noon.Add(-time.Hour), time.Second, 1<<10), noon, skip, false)); fmt.Sprint(got) != "[16]" {
		t.Errorf("a file that is left alone: %v", got)
	}
}

// merged is what a merge makes of a run.
func merged(run []archive.DataFile) archive.DataFile {
	f := run[0]
	f.Parts = 0
	f.Bytes, f.Rows = 0, 0
	for _, x := range run {
		f.Parts += max(1, x.Parts)
		f.Bytes, f.Rows = f.Bytes+x.Bytes, f.Rows+x.Rows
		f.Offsets.To, f.LastStoreMillis = x.Offsets.To, max(f.LastStoreMillis, x.LastStoreMillis)
	}
	f.Name = fmt.Sprintf("m%d-%d", f.Offsets.From, f.Offsets.To)
	return f
}

func apply(files []archive.DataFile, run []archive.DataFile) []archive.DataFile {
	var out []archive.DataFile
	for _, f := range files {
		switch {
		case f.Offsets.To <= run[0].Offsets.From || f.Offsets.From >= run[len(run)-1].Offsets.To:
			out = append(out, f)
		case f.Name == run[0].Name:
			out = append(out, merged(run))
		}
	}
	return out
}

// TestBounds simulates a month of slow queues and two days of fast ones: how many files there are
// and how often a byte is written again stays within what the package says.
func TestBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for _, c := range []struct {
		every    time.Duration
		size     int64
		rewrites float64 // at most, of each byte
		files    int     // at most, beside full ones and one a day
	}{
		{10 * time.Second, 16 << 20, 1.2, 16},
		{10 * time.Second, 1 << 20, 2.2, 40},
		{10 * time.Second, 10 << 10, 4, 62},
		{5 * time.Minute, 5 << 10, 3, 47},
		{5 * time.Minute, 500, 3, 47},
		{3 * time.Hour, 400, 1, 16},
	} {
		r := Rules{}.withDefaults()
		var files []archive.DataFile
		var came, written int64
		at, to, most := noon, int64(0), 0
		ended, next := 0, int64(0) // files that nothing will happen to any more
		days := time.Duration(30)
		if c.every < time.Minute {
			days = 2
		}
		for now := noon; now.Before(noon.Add(days * 24 * time.Hour)); now = now.Add(max(c.every, time.Minute*30)) {
			for ; at.Add(c.every).Before(now); at = at.Add(c.every) {
				size := c.size/2 + rng.Int64N(c.size)
				files = append(files, archive.DataFile{
					Name: fmt.Sprint(to), Queue: queue, Offsets: mq.Range{From: to, To: to + 10}, Rows: 10, Bytes: size,
					FirstStoreMillis: at.UnixMilli(), LastStoreMillis: at.Add(c.every - 1).UnixMilli(),
				})
				to += 10
				came += size
			}
			for due := r.Plan(files, now, nil, false); len(due) > 0; due = r.Plan(files, now, nil, false) {
				for _, run := range due {
					m := merged(run)
					if m.Bytes > r.MaxBytes {
						t.Fatalf("a merged file of %d bytes", m.Bytes)
					}
					written += m.Bytes
					files = apply(files, run)
				}
			}
			for len(files) > 0 && files[0].Bytes >= r.FullBytes {
				if files[0].Offsets.From != next {
					t.Fatalf("every %v: a hole at %d", c.every, next)
				}
				ended, next, files = ended+1, files[0].Offsets.To, files[1:]
			}
			open := 0
			for _, f := range files {
				if f.Bytes < r.FullBytes {
					open++
				}
			}
			fresh := int((r.Settle+30*time.Minute)/c.every) + 2
			most = max(most, open-fresh-int(now.Sub(noon)/(24*time.Hour))-1)
		}
		for _, f := range files {
			if f.Offsets.From != next {
				t.Fatalf("every %v: a hole at %d", c.every, next)
			}
			next = f.Offsets.To
		}
		if got := float64(written) / float64(came); got > c.rewrites {
			t.Errorf("every %v %d bytes: a byte is written again %.2f times", c.every, c.size, got)
		}
		if most > c.files {
			t.Errorf("every %v %d bytes: %d small files of a day", c.every, c.size, most)
		}
		t.Logf("a file of %d bytes every %v: after %d days %d files for %d, each byte written again %.2f times, at most %d small ones of a day",
			c.size, c.every, days, ended+len(files), to/10, float64(written)/float64(came), most)
	}
}
