package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"varve/internal/admin"
	"varve/internal/retention"
)

// rows runs a query and holds its answer.
func (r *run) rows(ctx context.Context, query string) ([][]any, error) {
	var out [][]any
	_, err := r.api.Query(ctx, admin.SQLRequest{SQL: query}, func([]admin.Column) error { return nil }, func(row []any) error {
		out = append(out, row)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	return out, nil
}

func number(v any) int64 {
	n, ok := v.(json.Number)
	if !ok {
		return -1
	}
	if i, err := n.Int64(); err == nil {
		return i
	}
	f, _ := n.Float64()
	return int64(math.Round(f))
}

func (r *run) sql(ctx context.Context) (string, error) {
	byTag, err := r.countByTag(ctx)
	if err != nil {
		return "", err
	}
	sum, err := r.sumByRegion(ctx)
	if err != nil {
		return "", err
	}
	one, err := r.findOne(ctx)
	if err != nil {
		return "", err
	}
	return byTag + "\n" + sum + "\n" + one, nil
}

// countByTag counts archive and hot tail together.
func (r *run) countByTag(ctx context.Context) (string, error) {
	const q = "select tag, count(*) from orders group by 1 order by 1"
	from := time.Now()
	got, err := r.rows(ctx, q)
	if err != nil {
		return "", err
	}
	want := map[string]int64{}
	for n := range r.ledger.numbers(func(int) bool { return true }) {
		want[tagOf(n)]++
	}
	var parts []string
	for _, row := range got {
		tag, _ := row[0].(string)
		if number(row[1]) != want[tag] {
			return "", fmt.Errorf("%s: %d of tag %s, sent were %d", q, number(row[1]), tag, want[tag])
		}
		delete(want, tag)
		parts = append(parts, fmt.Sprintf("%s %d", tag, number(row[1])))
	}
	if len(want) > 0 {
		return "", fmt.Errorf("%s: tags are missing: %v", q, want)
	}
	return fmt.Sprintf("%s\n  %s (%.2f s)", q, strings.Join(parts, ", "), time.Since(from).Seconds()), nil
}

// sumByRegion reads the JSON bodies of the middle third, by time.
func (r *run) sumByRegion(ctx context.Context) (string, error) {
	q := fmt.Sprintf("select count(*), sum(cast(round(cast(json_extract(decode(body), '$.amount') as double) * 100) as bigint)) from orders"+
		" where store_time >= '%s' and store_time < '%s'", stamp(r.marks[1]), stamp(r.marks[2]))
	from := time.Now()
	got, err := r.rows(ctx, q)
	if err != nil {
		return "", err
	}
	var count, cents int64
	for n := range r.ledger.numbers(func(n int) bool { return n >= r.cuts[1] && n < r.cuts[2] }) {
		count, cents = count+1, cents+centsOf(n)
	}
	if len(got) != 1 || number(got[0][0]) != count || number(got[0][1]) != cents {
		return "", fmt.Errorf("%s: got %v, want %d and %d", q, got, count, cents)
	}
	return fmt.Sprintf("sum of body.amount over a time range\n  %d orders, %.2f in all (%.2f s)", count, float64(cents)/100, time.Since(from).Seconds()), nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000+00") }

// findOne finds one message by key.
func (r *run) findOne(ctx context.Context) (string, error) {
	n := r.o.Messages / 3
	q := fmt.Sprintf("select queue_id, queue_offset, decode(body) from orders where list_contains(keys, '%s')", keyOf(n))
	from := time.Now()
	got, err := r.rows(ctx, q)
	if err != nil {
		return "", err
	}
	if len(got) != 1 || got[0][2] != string(newMessage(topic, n).Body) {
		return "", fmt.Errorf("%s: got %v", q, got)
	}
	return fmt.Sprintf("%s\n  queue %d, offset %d, body as sent (%.2f s)", q, number(got[0][0]), number(got[0][1]), time.Since(from).Seconds()), nil
}

func (r *run) replay(ctx context.Context) (string, error) {
	const tag = "paid"
	if _, err := r.api.CreateTopic(ctx, admin.TopicSpec{Name: target, Queues: queues}); err != nil {
		return "", err
	}
	from := time.Now()
	job, err := r.api.StartReplay(ctx, admin.ReplaySpec{Topic: topic, From: r.marks[1], To: r.marks[2], Tags: tag, Target: target})
	if err != nil {
		return "", err
	}
	if job, err = r.api.AwaitReplay(ctx, job.ID); err != nil {
		return "", err
	}
	if job.State != "done" {
		return "", fmt.Errorf("job %s is %s: %s", job.ID, job.State, job.Error)
	}
	a := newAudit()
	if err := r.readAll(ctx, target, a); err != nil {
		return "", err
	}
	want := r.ledger.numbers(func(n int) bool { return n >= r.cuts[1] && n < r.cuts[2] && tagOf(n) == tag })
	if err := a.compare(want).err("a replay"); err != nil {
		return "", err
	}
	r.figures.Replayed = len(want)
	return fmt.Sprintf("the middle third's %d messages of tag %s into %s (%d looked at, %.1f s), every digest right",
		len(want), tag, target, job.Scanned, time.Since(from).Seconds()), nil
}

// readAll reads a whole topic through the API.
func (r *run) readAll(ctx context.Context, name string, a *audit) error {
	for q := range queues {
		for at := int64(-1); ; {
			p, err := r.api.ReadMessages(ctx, admin.Stretch{Topic: name, Queue: int32(q), Offset: at, Max: 1024})
			if err != nil {
				return fmt.Errorf("read queue %d of %s: %w", q, name, err)
			}
			for _, m := range p.Messages {
				a.note(m.Properties["number"], m.Tag, strings.Join(m.Keys, " "), m.Properties["region"], []byte(m.Body))
			}
			if p.Next >= p.Max {
				break
			}
			at = p.Next
		}
	}
	return nil
}

func (r *run) retention(ctx context.Context) (string, error) {
	before, err := r.rows(ctx, "select count(*) from orders")
	if err != nil {
		return "", err
	}
	rule := retention.Rule{Name: "demo", Topic: topic, Archive: &retention.ArchiveBounds{Bytes: retention.Bytes(r.figures.ArchivedBytes / queues / 2)}}
	if err := r.api.SetRule(ctx, rule); err != nil {
		return "", err
	}
	plan, err := r.api.Explain(ctx, topic)
	if err != nil {
		return "", err
	}
	var planned int64
	for _, e := range plan {
		for _, gone := range e.Removals {
			planned += gone.File.Rows
		}
	}
	gone, err := r.api.Apply(ctx)
	if err != nil {
		return "", err
	}
	var removed, files int64
	for _, g := range gone {
		if g.Rule != rule.Name {
			return "", fmt.Errorf("removed by rule %q", g.Rule)
		}
		removed, files = removed+g.Messages, files+int64(g.Files)
	}
	after, err := r.rows(ctx, "select count(*) from orders")
	if err != nil {
		return "", err
	}
	if removed == 0 || removed != planned || number(before[0][0])-number(after[0][0]) != removed {
		return "", fmt.Errorf("explain named %d messages, %d went, SQL saw %d and then %d", planned, removed, number(before[0][0]), number(after[0][0]))
	}
	d, err := r.api.Topic(ctx, topic)
	if err != nil {
		return "", err
	}
	var mins int64
	for _, q := range d.Detail {
		mins += q.Min
	}
	if mins != removed {
		return "", fmt.Errorf("%d messages went, but the queues' first offsets moved by %d", removed, mins)
	}
	r.figures.Retained = removed
	return fmt.Sprintf("rule %q keeps %.1f MiB a queue: %d messages in %d files went, as explain had said; first offsets moved by as many",
		rule.Name, mib(int64(rule.Archive.Bytes)), removed, files), nil
}
