package query

import (
	"fmt"
	"testing"

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
