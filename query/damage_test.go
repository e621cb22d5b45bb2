package query

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"varve/internal/archive"
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

// TestFlippedBitAndForeignFile: what DuckDB would answer from is refused where
// it is not what the table says, and told of; what a query doesn't read doesn't
// matter to it.
func TestFlippedBitAndForeignFile(t *testing.T) {
	const name = "t-0-0.parquet"
	q, other := mq.Queue{Broker: "b", Topic: "t"}, mq.Queue{Broker: "b", Topic: "t", ID: 1}
	flip := func(t *testing.T, path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(b, bytes.Repeat([]byte("body"), 3)) // of an incompressible page
		if at < 0 {
			t.Fatal("the body isn't found")
		}
		b[at+5] ^= 1
		writeFile(t, path, string(b))
	}
	for _, tt := range []struct {
		what  string
		spoil func(t *testing.T, w *world)
		bad   []string // queries that must fail
		good  []string
		says  string
	}{
		{
			"a bit of a body", func(t *testing.T, w *world) { flip(t, w.path(name)) },
			[]string{"select * from t", "select body from t", "select count(body_text) from t", "select tag from t where body_text like 'x%'"},
			[]string{"select count(*) from t", "select max(queue_offset) from t"},
			"column [body], row 0: page at byte",
		},
		{
			"another queue's file", func(t *testing.T, w *world) {
				copyFile(t, w.path("t-1-0.parquet"), w.path(name))
				w.files["t"][0].Bytes = w.files["t"][1].Bytes // as long, by chance
			},
			[]string{"select * from t", "select count(*) from t"},
			[]string{"select count(*) from t where queue_id = 1"},
			`its varve.queue-id is "1", the table says "0"`,
		},
		{
			"a longer file", func(t *testing.T, w *world) { copyFile(t, w.path("t-2-0.parquet"), w.path(name)) },
			[]string{"select count(*) from t"},
			nil, "bytes, the table says",
		},
	} {
		t.Run(tt.what, func(t *testing.T) {
			w := newWorld(t)
			for i := range 50 {
				w.send(q, message(noise(i)+strings.Repeat("body", 3)+noise(i+1)))
				w.send(other, message(noise(i)+strings.Repeat("body", 3)+noise(i+1)))
				w.send(mq.Queue{Broker: "b", Topic: "t", ID: 2}, message(noise(i)+noise(i+1)))
			}
			w.archive(q, 50)
			w.archive(other, 50)
			w.archive(mq.Queue{Broker: "b", Topic: "t", ID: 2}, 40)
			e := w.engine(t, nil)
			var told []string
			e.deps.Bad = func(_ context.Context, topic, object, _ string) { told = append(told, topic+" "+object) }
			if _, _, err := drain(t, e, Request{SQL: "select * from t"}); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, w)
			for _, sql := range tt.bad {
				told = nil
				_, _, err := drain(t, e, Request{SQL: sql})
				if kindOf(t, err) != "storage" || !strings.Contains(err.Error(), "reading "+name+" of topic t") || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%s: %v", sql, err)
				}
				if !slices.Equal(told, []string{"t " + name}) {
					t.Errorf("%s: told of %q", sql, told)
				}
			}
			for _, sql := range tt.good {
				if _, _, err := drain(t, e, Request{SQL: sql}); err != nil {
					t.Errorf("%s: %v", sql, err)
				}
			}
		})
	}
}

// noise is what zstd stores as it is.
func noise(seed int) string {
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	b := make([]byte, 4000)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, to, string(b))
}

// TestCheckedOnce: a file that was found good isn't read again, until it is
// another one; columns that were not read then are.
func TestCheckedOnce(t *testing.T) {
	w := newWorld(t)
	q := mq.Queue{Broker: "b", Topic: "t"}
	for i := range 20 {
		w.send(q, message(noise(i)))
	}
	w.archive(q, 20)
	e := w.engine(t, nil)
	f, path := w.files["t"][0], w.path("t-0-0.parquet")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(set archive.ColumnSet) error {
		_, err := e.checkFile(t.Context(), f, path, set)
		return err
	}
	body := archive.ColumnsNamed([]string{"body"})
	if err := check(archive.AllColumns &^ body); err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, 0.2, 0.3)
	if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil { // as if nothing had happened
		t.Fatal(err)
	}
	if err := check(archive.ColumnsNamed([]string{"tag"})); err != nil {
		t.Errorf("read again: %v", err)
	}
	if err := check(body); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("a column that was not read before: %v", err)
	}
	overwrite(t, path, 0.2, 0.3)
	if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := check(archive.AllColumns); err != nil {
		t.Errorf("mended: %v", err)
	}
	overwrite(t, path, 0.2, 0.3)
	if err := os.Chtimes(path, time.Time{}, info.ModTime().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := check(body); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("another file: %v", err)
	}
}

func TestCheckedIsBounded(t *testing.T) {
	var c checked
	for i := range int64(3 * maxChecked) {
		c.add(checkedFile{modified: i}, found{set: 1})
		if n := len(c.young) + len(c.old); n > maxChecked {
			t.Fatalf("%d are remembered", n)
		}
		if _, ok := c.has(checkedFile{}); !ok {
			t.Fatalf("what is asked for all the time is forgotten after %d", i)
		}
	}
	if _, ok := c.has(checkedFile{modified: 1}); ok {
		t.Error("what nobody asks for is kept")
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
