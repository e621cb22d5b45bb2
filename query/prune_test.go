package query

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"varve/internal/mq"
)

// condition draws a WHERE of the kinds that choose files, and of others.
func condition(t *rapid.T, prefix string, depth int) string {
	if depth > 0 && rapid.IntRange(0, 2).Draw(t, "nest") > 0 {
		word := rapid.SampledFrom([]string{" and ", " or "}).Draw(t, "word")
		c := "(" + condition(t, prefix, depth-1) + word + condition(t, prefix, depth-1) + ")"
		if rapid.IntRange(0, 4).Draw(t, "not") == 0 {
			c = "not " + c
		}
		return c
	}
	col := rapid.SampledFrom([]string{"queue_id", "queue_offset", "store_time", "store_time::date", "broker", "tag", "queue_offset % 7"}).Draw(t, "column")
	value := func() string {
		n := rapid.IntRange(-2, 45).Draw(t, "value")
		switch {
		case col == "queue_id":
			return fmt.Sprint(n % 4)
		case col == "broker":
			return rapid.SampledFrom([]string{"'b'", "'c'", "'none'"}).Draw(t, "broker")
		case col == "tag":
			return "'a'"
		case strings.HasPrefix(col, "store_time"):
			at := epoch.Add(time.Duration(n) * 1500 * time.Millisecond)
			return rapid.SampledFrom([]string{
				"timestamptz '" + at.Format(time.RFC3339Nano) + "'",
				"'" + at.Format("2006-01-02 15:04:05.999") + "'",
				fmt.Sprintf("timestamp '2026-03-01 12:00:00' + interval (%d) seconds", n),
				"now() - interval 1 day", "date '2026-03-01'", "current_date", "null",
			}).Draw(t, "time")
		}
		return rapid.SampledFrom([]string{fmt.Sprint(n), fmt.Sprintf("%d.5", n), fmt.Sprintf("(%d + 2)", n), fmt.Sprintf("'%d'", n), "null", "1e30"}).Draw(t, "number")
	}
	op := rapid.SampledFrom([]string{"=", "<", "<=", ">", ">=", "<>", "between", "in", "is"}).Draw(t, "operator")
	name := prefix + col
	switch op {
	case "between":
		return fmt.Sprintf("%s between %s and %s", name, value(), value())
	case "in":
		return fmt.Sprintf("%s in (%s, %s)", name, value(), value())
	case "is":
		return name + " is not null"
	}
	if rapid.Bool().Draw(t, "turned") {
		return fmt.Sprintf("%s %s %s", value(), op, name)
	}
	return fmt.Sprintf("%s %s %s", name, op, value())
}

// fewChecks makes rapid draw less than usual, unless it was told how much: each
// check starts processes.
func fewChecks(t *testing.T) {
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set("12"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
}

// TestPruningIsSound: a query over chosen files finds what it finds over all
// of them. The inner SELECT of the second form hides the table from the
// choice.
func TestPruningIsSound(t *testing.T) {
	w := newWorld(t)
	for i, broker := range []string{"b", "c"} {
		for id := range int32(2) {
			q := mq.Queue{Broker: broker, Topic: "t", ID: id}
			for n := range 40 {
				w.send(q, message("x", mq.PropTags, string(rune('a'+n%3))))
			}
			if i == 0 {
				w.archive(q, 10)
				w.archive(q, 25)
				w.trim(q, int64(12*id))
			}
		}
	}
	e := w.engine(t, nil)
	fewChecks(t)
	pruned := 0
	rapid.Check(t, func(t *rapid.T) {
		var parts, plain []string
		for range 5 { // several to a query: starting one is what takes time
			c := condition(t, "", 2)
			parts = append(parts, "(select count(*) || ' ' || coalesce(sum(queue_offset), 0) from t where "+c+")")
			plain = append(plain, "(select count(*) || ' ' || coalesce(sum(queue_offset), 0) from (select * from t) where "+c+")")
			j := condition(t, "x.", 1)
			parts = append(parts, "(select count(*) || ' ' || coalesce(sum(y.queue_offset), 0) from t x left join t y on x.queue_offset = y.queue_offset + 1 and x.queue_id = y.queue_id where "+j+")")
			plain = append(plain, "(select count(*) || ' ' || coalesce(sum(y.queue_offset), 0) from (select * from t) x left join (select * from t) y on x.queue_offset = y.queue_offset + 1 and x.queue_id = y.queue_id where "+j+")")
		}
		got, _ := answer(t, e, "select "+strings.Join(parts, ", "))
		want, all := answer(t, e, "select "+strings.Join(plain, ", "))
		for i := range parts {
			if len(got) != len(want) || got[i] != want[i] {
				t.Fatalf("%s\ngot %v, want %v", parts[i], got, want)
			}
		}
		one, files := answer(t, e, "select count(*) || '' from t where "+strings.SplitN(strings.TrimSuffix(parts[0], ")"), " where ", 2)[1])
		if files < all {
			pruned++
		}
		if first, _, _ := strings.Cut(want[0], " "); one[0] != first {
			t.Fatalf("%s alone\ngot %v, want %v", parts[0], one, first)
		}
	})
	if pruned == 0 {
		t.Error("no query chose fewer files than there are")
	}
}

func answer(t *rapid.T, e *Engine, sql string) (values []string, files int64) {
	rows, err := e.Query(t.Context(), Request{SQL: sql})
	if err != nil {
		if k := err.(*Error); k.Kind == "invalid" {
			t.Skip("not a query: " + err.Error())
		}
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		for _, v := range rows.Row() {
			values = append(values, v.Text())
		}
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	return values, rows.Stats().ArchiveFiles
}
