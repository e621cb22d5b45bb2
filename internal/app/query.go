package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"varve/history"
	"varve/internal/admin"
	"varve/internal/archive"
	"varve/internal/config"
	"varve/internal/mq"
	"varve/query"
	"varve/query/wire"
)

// openQuery makes the SQL engine.
func (n *Node) openQuery(context.Context) error {
	if !n.cfg.Has(config.RoleHistory) {
		return nil
	}
	c := n.cfg.Query
	deps := query.Deps{Catalog: query.ArchiveCatalog(n.archive), Files: queryFiles{n.history}, Bad: n.history.NoteBad}
	if n.store != nil {
		deps.Hot = n.store
	}
	if n.broker != nil {
		deps.Empty, deps.Schemas = n.emptyTopics, n.schemas
	}
	if n.retainer != nil {
		deps.Deletions = n.deletions
	}
	var err error
	n.query, err = query.New(query.Config{
		TempDir: n.dir.path("tmp", "query"), MaxConcurrent: c.Concurrency, Timeout: c.Timeout, MaxTimeout: maxQueryTime(n.cfg),
		MemoryBytes: int64(c.Memory), MaxRows: c.Rows, Logger: n.log,
	}, deps)
	if err != nil {
		return fmt.Errorf("start the query engine: %w", err)
	}
	n.onClose("query engine", n.query.Close)
	return nil
}

// deletions gives what retention removed of some topics, for SQL.
func (n *Node) deletions(ctx context.Context, topics []string) (out []wire.Deletion, err error) {
	for _, topic := range topics {
		list, err := n.retainer.Deletions(ctx, topic)
		switch {
		case errors.Is(err, archive.ErrNoTable):
			continue
		case err != nil:
			return nil, fmt.Errorf("topic %s: %w", topic, err)
		}
		for _, d := range list {
			out = append(out, deletedRows(d)...)
		}
	}
	return out, nil
}

func deletedRows(d history.Deletion) (out []wire.Deletion) {
	row := wire.Deletion{At: d.At.UnixMilli(), Topic: d.Topic, Record: d.ID, Digest: d.Digest, SignedBy: d.SignedBy}
	if d.Removed != nil {
		if d.Removed.Abandoned {
			return nil
		}
		row.RemovedAt = d.Removed.At.UnixMilli()
	}
	for _, f := range d.Files {
		row.Broker, row.QueueID, row.FromOffset, row.ToOffset = f.Queue.Broker, f.Queue.ID, f.Offsets.From, f.Offsets.To
		row.Messages, row.Bytes, row.FirstStoreTime, row.LastStoreTime = f.Rows, f.Bytes, f.FirstStoreMillis, f.LastStoreMillis
		row.Rule, row.Cause, row.File = f.Rule, string(f.Cause), f.Name
		out = append(out, row)
	}
	return out
}

// maxQueryTime is the longest run that a query may ask for.
func maxQueryTime(c *config.Config) time.Duration { return max(10*c.Query.Timeout, c.Query.Timeout) }

// emptyTopics lists what the broker has as a topic, but for what it makes
// itself for groups: those are tables when there is a message in them.
func (n *Node) emptyTopics() []string {
	var out []string
	for _, t := range n.broker.Topics() {
		if !strings.HasPrefix(t.Name, mq.RetryPrefix) && !strings.HasPrefix(t.Name, mq.DLQPrefix) {
			out = append(out, t.Name)
		}
	}
	return out
}

// sqlAPI implements admin.SQL.
type sqlAPI struct{ n *Node }

func (a sqlAPI) Query(ctx context.Context, r admin.SQLRequest, columns func([]admin.Column) error, row func([]any) error) (admin.SQLEnd, error) {
	if r.TimeoutSeconds < 0 || r.MaxRows < 0 {
		return admin.SQLEnd{}, admin.BadRequest("timeout_seconds and max_rows: neither may be negative")
	}
	if most := maxQueryTime(a.n.cfg) / time.Second; int64(r.TimeoutSeconds) > int64(most) {
		return admin.SQLEnd{}, admin.BadRequest("timeout_seconds: %d is over the limit of %d, ten times query.timeout", r.TimeoutSeconds, most)
	}
	from := time.Now()
	rows, err := a.n.query.Query(ctx, query.Request{
		SQL: r.SQL, Tenant: r.Tenant, Visible: r.Visible, Timeout: time.Duration(r.TimeoutSeconds) * time.Second, MaxRows: r.MaxRows,
	})
	var failed *query.Error
	if errors.As(err, &failed) && (failed.Kind == wire.Storage || failed.Kind == wire.Unavailable) {
		if why := a.n.reach.trouble(); why != "" {
			return admin.SQLEnd{}, admin.Unavailable("%s", why)
		}
	}
	if err != nil {
		return admin.SQLEnd{}, queryError(err)
	}
	defer rows.Close()
	cols := make([]admin.Column, 0, len(rows.Columns()))
	for _, c := range rows.Columns() {
		cols = append(cols, admin.Column{Name: c.Name, Type: c.Type})
	}
	if err := columns(cols); err != nil {
		return admin.SQLEnd{}, err
	}
	end, cells := admin.SQLEnd{}, make([]any, len(cols))
	for rows.Next() {
		for i, v := range rows.Row() {
			cells[i] = v
		}
		if err := row(cells); err != nil {
			return end, err
		}
		end.Rows++
	}
	end.Truncated, end.Millis = rows.Truncated(), time.Since(from).Milliseconds()
	return end, queryError(rows.Err())
}

// queryError gives an engine's error its place in the API.
func queryError(err error) error {
	var e *query.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Kind {
	case wire.UnknownTable:
		return admin.NotFound("%s", e.Message)
	case wire.Syntax, wire.Invalid, wire.Refused:
		return admin.BadRequest("%s", e.Message)
	case wire.Memory, wire.TooLarge, wire.Timeout:
		return admin.OverLimit("%s", e.Message)
	case wire.Busy, wire.Unavailable:
		return admin.Unavailable("%s", e.Message)
	}
	return err
}
