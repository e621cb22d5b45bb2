package query

import (
	"fmt"
	"strings"
	"testing"

	"varve/internal/mq"
	"varve/internal/typed"
)

// declare gives a topic's schema another version.
func declare(t *testing.T, topic typed.Topic, doc string, d typed.Declaration) (typed.Topic, *typed.Layout) {
	t.Helper()
	d.Format, d.Document = typed.JSON, []byte(doc)
	topic, _, err := topic.Declare(d, typed.Table{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := topic.Layout()
	if err != nil {
		t.Fatal(err)
	}
	return topic, l
}

// typedWorld has a file of before the first schema, one of each of two versions,
// and messages in the hot log.
func typedWorld(t *testing.T) *world {
	w := newWorld(t)
	q := mq.Queue{Broker: "b", Topic: "orders"}
	send := func(n int, body string) {
		for range n {
			w.send(q, message(strings.ReplaceAll(body, "N", fmt.Sprint(len(w.recs(q))))))
		}
	}
	send(3, `{"n":N}`)
	w.archive(q, 3)
	topic, l := declare(t, typed.Topic{Name: "orders"}, `{"properties":{"n":{"type":"integer","format":"int32"},"amount":{"type":"number"},"gone":{"type":"string"},
		"customer":{"type":"object","properties":{"name":{"type":"string"}}},"items":{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string"}}}},
		"labels":{"type":"object","additionalProperties":{"type":"integer","format":"int32"}}}}`, typed.Declaration{})
	w.layout = l
	send(3, `{"n":N,"amount":N.5,"gone":"x","customer":{"name":"cN"},"items":[{"sku":"sN"}],"labels":{"a":N}}`)
	w.archive(q, 6)
	_, w.layout = declare(t, topic, `{"properties":{"n":{"type":"integer"},"sum":{"type":"number"},"day":{"type":"string","format":"date"},
		"customer":{"type":"object","properties":{"full":{"type":"string"},"age":{"type":"integer"}}},"items":{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string"},"n":{"type":"integer"}}}},
		"labels":{"type":"object","additionalProperties":{"type":"integer"}}}}`,
		typed.Declaration{Rename: map[string]string{"amount": "sum", "customer.name": "full"}, Drop: []string{"gone"}})
	send(2, `{"n":N,"sum":N.5,"day":"2026-01-02","customer":{"full":"cN","age":N},"items":[{"sku":"sN","n":N}],"labels":{"a":N}}`)
	send(1, `{"n":"N"}`)
	w.archive(q, 9)
	send(1, `{"n":3000000000,"sum":N}`)
	send(1, `not JSON`)
	return w
}

func (w *world) recs(q mq.Queue) []mq.Record {
	if l := w.logs[q]; l != nil {
		return l.recs
	}
	return nil
}

func TestTypedColumns(t *testing.T) {
	e := typedWorld(t).engine(t, nil)
	for _, c := range []struct{ sql, want string }{
		{"select queue_offset, n, sum, day, body_error from orders order by 1", `0 null null null null|1 null null null null|2 null null null null|` +
			`3 3 3.5 null null|4 4 4.5 null null|5 5 5.5 null null|6 6 6.5 "2026-01-02" null|7 7 7.5 "2026-01-02" null|8 null null null "n: a string, want long"|` +
			`9 3000000000 9 null null|10 null null null "not JSON: byte 0: want null"`},
		{
			"select queue_offset, customer, items, labels from orders where n in (4, 6) or queue_offset = 8 order by 1",
			`4 {"age":null,"full":"c4"} [{"n":null,"sku":"s4"}] {"a":4}|6 {"age":6,"full":"c6"} [{"n":6,"sku":"s6"}] {"a":6}|8 null null null`,
		},
		{"select sum(n), count(*), count(sum), max(customer.full) from orders", `3000000025 11 6 "c7"`},
		{"select queue_offset from orders where n > 5 and body_error is null order by 1", `6|7|9`},
		{"select typeof(n), typeof(customer) from orders limit 1", `"BIGINT" "STRUCT(\"full\" VARCHAR, age BIGINT)"`},
		{"select count(*) from orders a join orders b using (n)", `6`},
		{"select column_name from (describe orders) where column_name not like '%time' offset 21", `"body_json"|"body_error"|"n"|"sum"|"day"|"customer"|"items"|"labels"`},
	} {
		if got := cells(t, e, c.sql); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.sql, got, c.want)
		}
	}
}

// cells is a query's rows as one text.
func cells(t *testing.T, e *Engine, sql string) string {
	t.Helper()
	rows, err := e.Query(t.Context(), Request{SQL: sql})
	if err != nil {
		return err.Error()
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var row []string
		for _, v := range rows.Row() {
			row = append(row, string(v))
		}
		lines = append(lines, strings.Join(row, " "))
	}
	if err := rows.Err(); err != nil {
		return err.Error()
	}
	return strings.Join(lines, "|")
}
