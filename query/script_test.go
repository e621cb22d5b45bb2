package query

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"varve/internal/mq"
)

// TestScripts runs testdata/script: each file is a world of its own.
//
//	send topic=t queue=0 count=10 [broker=b] [tags=(a,b)] [ago=90m]
//	archive topic=t queue=0 to=6
//	trim topic=t queue=0 to=6
//	query [tenant=x] [rows=n] [stats]
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/script", func(t *testing.T, path string) {
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			return
		}
		w := newWorld(t)
		e := w.engine(t, nil)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return w.command(t, e, d)
		})
	})
}

func (w *world) command(t *testing.T, e *Engine, d *datadriven.TestData) string {
	q := mq.Queue{Broker: "varve-a"}
	var to, count int64
	var tags []string
	var ago string
	d.MaybeScanArgs(t, "topic", &q.Topic)
	d.MaybeScanArgs(t, "queue", &q.ID)
	d.MaybeScanArgs(t, "broker", &q.Broker)
	d.MaybeScanArgs(t, "to", &to)
	d.MaybeScanArgs(t, "count", &count)
	d.MaybeScanArgs(t, "ago", &ago)
	if a, ok := d.Arg("tags"); ok {
		tags = a.Vals
	}
	switch d.Cmd {
	case "send":
		w.mu.Lock()
		base := int64(0)
		if l := w.logs[q]; l != nil {
			base = int64(len(l.recs))
		}
		w.mu.Unlock()
		for i := base; i < base+count; i++ {
			m := message(fmt.Sprintf(`{"n":%d,"queue":%d}`, i, q.ID), "KEYS", fmt.Sprintf("k%d second", i), "UNIQ_KEY", fmt.Sprintf("M%d-%d", q.ID, i), "b", "2", "a", "1")
			if len(tags) > 0 {
				m.Properties = mq.AppendProperty(m.Properties, mq.PropTags, tags[int(i)%len(tags)])
			}
			if ago != "" {
				back, err := time.ParseDuration(ago)
				if err != nil {
					t.Fatal(err)
				}
				m.StoreTimeMillis = time.Now().Add(-back).UnixMilli() + i
			}
			w.send(q, m)
		}
		return ""
	case "raw":
		m := message(strings.TrimSuffix(d.Input, "\n"))
		for _, a := range d.CmdArgs {
			switch a.Key {
			case "topic", "queue", "broker":
			case "body":
				m.Body = []byte(a.Vals[0])
			default:
				m.Properties = mq.AppendProperty(m.Properties, a.Key, a.Vals[0])
			}
		}
		w.send(q, m)
		return ""
	case "archive":
		w.archive(q, to)
		return ""
	case "trim":
		w.trim(q, to)
		return ""
	case "query":
		r := Request{SQL: d.Input}
		d.MaybeScanArgs(t, "tenant", &r.Tenant)
		d.MaybeScanArgs(t, "rows", &r.MaxRows)
		return ask(e, r, d.HasArg("stats"))
	}
	t.Fatalf("unknown command %s", d.Cmd)
	return ""
}

// ask runs a query and prints its result.
func ask(e *Engine, r Request, stats bool) string {
	var out strings.Builder
	rows, err := e.Query(context.Background(), r)
	if err != nil {
		return failure(err)
	}
	defer rows.Close()
	for i, c := range rows.Columns() {
		if i > 0 {
			out.WriteString(" | ")
		}
		fmt.Fprintf(&out, "%s %s", c.Name, c.Type)
	}
	out.WriteString("\n")
	for rows.Next() {
		for i, v := range rows.Row() {
			if i > 0 {
				out.WriteString(" | ")
			}
			out.Write(v)
		}
		out.WriteString("\n")
	}
	if rows.Err() != nil {
		out.WriteString(failure(rows.Err()))
	}
	if rows.Truncated() != "" {
		fmt.Fprintf(&out, "-- %s\n", rows.Truncated())
	}
	if st := rows.Stats(); stats {
		fmt.Fprintf(&out, "-- archive: %d files, %d rows; hot: %d rows\n", st.ArchiveFiles, st.ArchiveRows, st.HotRows)
	}
	return out.String()
}

func failure(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return "unexpected error: " + err.Error() + "\n"
	}
	at := ""
	if e.Position > 0 {
		at = fmt.Sprintf(" at %d", e.Position)
	}
	return fmt.Sprintf("error %s%s: %s\n", e.Kind, at, e.Message)
}
