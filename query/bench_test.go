package query

import (
	"fmt"
	"testing"

	"varve/internal/archive"
	"varve/internal/mq"
)

// BenchmarkQuery is the time of a whole small query: process, parse, files,
// result.
func BenchmarkQuery(b *testing.B) {
	for _, sql := range []string{"select 1", "select tag, count(*) from t group by 1"} {
		b.Run(sql, func(b *testing.B) {
			e := benchEngine(b)
			for b.Loop() {
				rows, err := e.Query(b.Context(), Request{SQL: sql})
				if err != nil {
					b.Fatal(err)
				}
				for rows.Next() {
				}
				if rows.Err() != nil {
					b.Fatal(rows.Err())
				}
			}
		})
	}
}

func benchEngine(b *testing.B) *Engine {
	w := newWorld(b)
	q := mq.Queue{Broker: "b", Topic: "t", ID: 0}
	for i := range 2000 {
		w.send(q, message(fmt.Sprint(i), mq.PropTags, "a"))
	}
	w.archive(q, 1000)
	return w.engine(b, nil)
}

// BenchmarkCheck is the time of checking a data file of bodies that don't
// compress, before a query reads it for the first time.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	q := mq.Queue{Broker: "b", Topic: "t"}
	for i := range 8000 {
		w.send(q, message(noise(i), mq.PropTags, "a", "KEYS", fmt.Sprint(i)))
	}
	w.archive(q, 8000)
	f := w.files["t"][0]
	for what, set := range map[string]archive.ColumnSet{"all": archive.AllColumns, "tag": archive.ColumnsNamed([]string{"tag"}), "none": 0} {
		b.Run(what, func(b *testing.B) {
			b.SetBytes(f.Bytes)
			for b.Loop() {
				var e Engine
				if _, err := e.checkFile(b.Context(), f, w.path(f.Name), set); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("again", func(b *testing.B) {
		var e Engine
		for b.Loop() {
			if _, err := e.checkFile(b.Context(), f, w.path(f.Name), archive.AllColumns); err != nil {
				b.Fatal(err)
			}
		}
	})
}
