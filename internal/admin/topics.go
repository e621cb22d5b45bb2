package admin

import (
	"context"
	"net/http"
	"slices"

	"varve/internal/auth"
)

func (s *server) topicRoutes() {
	s.handle("GET /api/v1/topics", s.topics(func(ctx context.Context, _ *http.Request) (any, error) {
		all, err := s.b.Topics.Topics(ctx)
		return slices.DeleteFunc(all, func(t Topic) bool { return !s.sees(ctx, auth.Topic(t.Name)) }), err
	}))
	s.handle("POST /api/v1/topics", s.topics(func(ctx context.Context, r *http.Request) (any, error) {
		var spec TopicSpec
		if err := decode(r, &spec); err != nil {
			return nil, err
		}
		if spec.Name == "" {
			return nil, BadRequest("name: a topic needs one")
		}
		do := auth.Create
		if _, err := s.b.Topics.Topic(ctx, spec.Name); err == nil {
			do |= auth.Update
		}
		if err := s.may(ctx, do, auth.Topic(spec.Name)); err != nil {
			return nil, err
		}
		return s.b.Topics.CreateTopic(ctx, spec)
	}))
	s.handle("GET /api/v1/topics/{topic}", s.topics(func(ctx context.Context, r *http.Request) (any, error) {
		return s.b.Topics.Topic(ctx, r.PathValue("topic"))
	}))
	s.handle("DELETE /api/v1/topics/{topic}", s.topics(func(ctx context.Context, r *http.Request) (any, error) {
		return nil, s.b.Topics.DeleteTopic(ctx, r.PathValue("topic"))
	}))

	s.handle("GET /api/v1/groups", s.groups(func(ctx context.Context, _ *http.Request) (any, error) {
		all, err := s.b.Groups.Groups(ctx)
		return slices.DeleteFunc(all, func(g Group) bool { return !s.sees(ctx, auth.Group(g.Name)) }), err
	}))
	s.handle("GET /api/v1/groups/{group}", s.groups(func(ctx context.Context, r *http.Request) (any, error) {
		return s.b.Groups.Group(ctx, r.PathValue("group"))
	}))
	s.handle("POST /api/v1/groups/{group}/reset", s.groups(func(ctx context.Context, r *http.Request) (any, error) {
		var reset Reset
		if err := decode(r, &reset); err != nil {
			return nil, err
		}
		if reset.Topic == "" || reset.To == "" {
			return nil, BadRequest("topic and to: both are needed")
		}
		if err := s.may(ctx, auth.Update, auth.Topic(reset.Topic)); err != nil {
			return nil, err
		}
		return s.b.Groups.ResetGroup(ctx, r.PathValue("group"), reset)
	}))
	s.handle("GET /api/v1/dlq", s.groups(func(ctx context.Context, _ *http.Request) (any, error) {
		all, err := s.b.Groups.DeadLetters(ctx)
		return slices.DeleteFunc(all, func(d DeadLetters) bool { return !s.sees(ctx, auth.Group(d.Group)) }), err
	}))
	s.handle("POST /api/v1/dlq/{group}/resend", s.groups(func(ctx context.Context, r *http.Request) (any, error) {
		var resend Resend
		if err := decode(r, &resend); err != nil {
			return nil, err
		}
		if resend.All == (len(resend.IDs) > 0) {
			return nil, BadRequest("ids or all: one of them is needed")
		}
		return s.b.Groups.ResendDeadLetters(ctx, r.PathValue("group"), resend)
	}))
	s.handle("DELETE /api/v1/groups/{group}", s.groups(func(ctx context.Context, r *http.Request) (any, error) {
		return nil, s.b.Groups.DeleteGroup(ctx, r.PathValue("group"))
	}))
}

func (s *server) topics(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Topics == nil {
			return nil, missing("broker", "knows topics")
		}
		return f(ctx, r)
	}
}

func (s *server) groups(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Groups == nil {
			return nil, missing("broker", "knows groups")
		}
		return f(ctx, r)
	}
}
