package query

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"varve/internal/mq"
)

// TestArchiveFileIsBad: whatever is wrong with a data file, the error names the
// object and its topic.
func TestArchiveFileIsBad(t *testing.T) {
	q := mq.Queue{Broker: "b", Topic: "t"}
	const name = "t-0-0.parquet"
	for what, spoil := range map[string]func(t *testing.T, path string){
		"missing": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"other bytes": func(t *testing.T, path string) { overwrite(t, path, 0.05, 0.3) },
		"headers":     func(t *testing.T, path string) { overwrite(t, path, 0.0, 0.1) },
		"footer":      func(t *testing.T, path string) { overwrite(t, path, 0.9, 0.99) },
		"cut":         func(t *testing.T, path string) { writeFile(t, path, "PAR1") },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			for i := range 500 {
				w.send(q, message(strings.Repeat(string(rune('a'+i%26)), 1+i*7%90), "KEYS", strings.Repeat("k", i%50)))
			}
			w.archive(q, 500)
			spoil(t, w.path(name))
			_, _, err := drain(t, w.engine(t, nil), Request{SQL: "select * from t"})
			if kindOf(t, err) != "storage" || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "topic t") && !strings.Contains(err.Error(), "files of t") {
				t.Errorf("got %v", err)
			}
			if strings.Contains(err.Error(), "archive-0") {
				t.Errorf("%v: the link's name", err)
			}
		})
	}
}

// overwrite changes a part of a file.
func overwrite(t *testing.T, path string, from, to float64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4 + int(from*float64(len(b))); i < int(to*float64(len(b))); i++ {
		b[i] ^= 0xa5
	}
	writeFile(t, path, string(b))
}

func TestEmptyTopic(t *testing.T) {
	w := newWorld(t)
	e, err := New(Config{TempDir: filepath.Join(t.TempDir(), "tmp"), Command: w.workerCommand(), Env: []string{workerEnv + "=1"}},
		Deps{Catalog: w, Files: PathFiles{w.path}, Hot: w, Empty: func() []string { return []string{"idle", "default%x"} }})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, sql := range []string{"from idle", `from "default%x"`} {
		if n, _, err := drain(t, e, Request{SQL: sql}); n != 0 || err != nil {
			t.Errorf("%s: %d rows, %v", sql, n, err)
		}
	}
	if n, _, err := drain(t, e, Request{SQL: "show tables"}); n != 2 || err != nil {
		t.Errorf("show tables: %d rows, %v", n, err)
	}
	if _, _, err := drain(t, e, Request{SQL: "from x"}); kindOf(t, err) != "unknown_table" {
		t.Errorf("x is not default%%x: %v", err)
	}
}
