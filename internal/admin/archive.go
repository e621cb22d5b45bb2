package admin

import (
	"context"
	"net/http"

	"varve/internal/retention"
)

func (s *server) archiveRoutes() {
	s.handle("GET /api/v1/retention/rules", s.retention(func(ctx context.Context, _ *http.Request) (any, error) {
		return s.b.Retention.Rules(ctx)
	}))
	s.handle("PUT /api/v1/retention/rules/{name}", s.retention(func(ctx context.Context, r *http.Request) (any, error) {
		var rule retention.Rule
		if err := decode(r, &rule); err != nil {
			return nil, err
		}
		rule.Name = r.PathValue("name")
		return rule, s.b.Retention.SetRule(ctx, rule)
	}))
	s.handle("DELETE /api/v1/retention/rules/{name}", s.retention(func(ctx context.Context, r *http.Request) (any, error) {
		return nil, s.b.Retention.DeleteRule(ctx, r.PathValue("name"))
	}))
	s.handle("GET /api/v1/retention/explain", s.retention(func(ctx context.Context, r *http.Request) (any, error) {
		return s.b.Retention.Explain(ctx, r.URL.Query().Get("topic"))
	}))
	s.handleWithin(flushDeadline, "POST /api/v1/retention/apply", s.retention(func(ctx context.Context, _ *http.Request) (any, error) {
		return s.b.Retention.Apply(ctx)
	}))
	s.handle("GET /api/v1/retention/removals", s.retention(func(ctx context.Context, r *http.Request) (any, error) {
		return s.b.Retention.Removals(ctx, r.URL.Query().Get("topic"))
	}))

	s.handle("GET /api/v1/archive", s.archive(func(ctx context.Context, _ *http.Request) (any, error) {
		return s.b.Archive.ArchiveStatus(ctx)
	}))
	s.handle("GET /api/v1/archive/{topic}/files", s.archive(func(ctx context.Context, r *http.Request) (any, error) {
		return s.b.Archive.ArchiveFiles(ctx, r.PathValue("topic"))
	}))
	s.handle("GET /api/v1/archive/{topic}/erasures", s.archive(func(ctx context.Context, r *http.Request) (any, error) {
		return s.b.Archive.Erasures(ctx, r.PathValue("topic"))
	}))
	s.handleWithin(flushDeadline, "POST /api/v1/archive/{topic}/erasures", s.archive(func(ctx context.Context, r *http.Request) (any, error) {
		var e Erase
		if err := decode(r, &e); err != nil {
			return nil, err
		}
		return s.b.Archive.Erase(ctx, r.PathValue("topic"), e)
	}))
	s.handleWithin(flushDeadline, "POST /api/v1/archive/flush", s.archive(func(ctx context.Context, _ *http.Request) (any, error) {
		return nil, s.b.Archive.Flush(ctx)
	}))
	s.handleWithin(flushDeadline, "POST /api/v1/archive/compact", s.archive(func(ctx context.Context, r *http.Request) (any, error) {
		return s.b.Archive.Compact(ctx, r.URL.Query().Get("topic"))
	}))
	s.handleWithin(flushDeadline, "POST /api/v1/hot/trim", s.archive(func(ctx context.Context, r *http.Request) (any, error) {
		q := query{values: r.URL.Query()}
		keep := q.number("keep_bytes", 0)
		if q.err != nil {
			return nil, q.err
		}
		return s.b.Archive.Trim(ctx, keep)
	}))
}

func (s *server) retention(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Retention == nil {
			return nil, missing("history", "keeps retention rules")
		}
		return f(ctx, r)
	}
}

func (s *server) archive(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Archive == nil {
			return nil, missing("connector", "writes the archive")
		}
		return f(ctx, r)
	}
}
