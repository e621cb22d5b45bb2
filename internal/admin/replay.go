package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"

	"varve/internal/auth"
)

func (s *server) replayRoutes() {
	s.handle("GET /api/v1/replays", s.replays(func(ctx context.Context, _ *http.Request) (any, error) {
		all, err := s.b.Replay.Replays(ctx)
		return slices.DeleteFunc(all, func(j ReplayJob) bool { return !s.sees(ctx, auth.Topic(j.Spec.Topic)) }), err
	}))
	s.handle("POST /api/v1/replays", s.replays(func(ctx context.Context, r *http.Request) (any, error) {
		var spec ReplaySpec
		if err := decode(r, &spec); err != nil {
			return nil, err
		}
		if spec.Topic == "" || spec.Target == "" {
			return nil, BadRequest("topic and target: a replay job needs both")
		}
		if err := spec.check(); err != nil {
			return nil, err
		}
		if err := s.mayReplay(ctx, spec); err != nil {
			return nil, err
		}
		return s.b.Replay.StartReplay(ctx, spec)
	}))
	s.handle("GET /api/v1/replays/{id}", s.replays(func(ctx context.Context, r *http.Request) (any, error) {
		if err := s.mayHave(ctx, r.PathValue("id")); err != nil {
			return nil, err
		}
		if r.URL.Query().Get("wait") == "true" {
			return s.b.Replay.AwaitReplay(ctx, r.PathValue("id"))
		}
		return s.b.Replay.ReplayJob(ctx, r.PathValue("id"))
	}))
	s.handle("POST /api/v1/replays/{id}/{action}", s.replays(func(ctx context.Context, r *http.Request) (any, error) {
		action := r.PathValue("action")
		switch action {
		case "pause", "resume", "cancel":
			if err := s.mayHave(ctx, r.PathValue("id")); err != nil {
				return nil, err
			}
			return s.b.Replay.ReplayAction(ctx, r.PathValue("id"), action)
		}
		return nil, BadRequest("action %q is none of pause, resume, cancel", action)
	}))
	s.mux.HandleFunc("POST /api/v1/replay-stream", s.guard("POST /api/v1/replay-stream", s.replayStream))
}

// check refuses offsets that would mean another message in each queue.
func (s *ReplaySpec) check() error {
	if (s.FromOffset != nil || s.ToOffset != nil) && len(s.Queues) != 1 {
		return BadRequest("from_offset and to_offset: they need exactly one queue in queues")
	}
	return nil
}

// mayHave asks for both ends of a job.
func (s *server) mayHave(ctx context.Context, id string) error {
	if callerOf(ctx).Super {
		return nil
	}
	job, err := s.b.Replay.ReplayJob(ctx, id)
	if err != nil {
		return err
	}
	return s.mayReplay(ctx, job.Spec)
}

func (s *server) replays(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Replay == nil {
			return nil, missing("history", "replays")
		}
		return f(ctx, r)
	}
}

// replayStream writes messages as NDJSON. An error after the first line can't
// be a status any more: it is the last line, as {"error":…}, and the connection
// is cut behind it, so that no client takes a part for the whole.
func (s *server) replayStream(w http.ResponseWriter, r *http.Request) {
	if s.b.Replay == nil {
		s.fail(w, r, missing("history", "replays"))
		return
	}
	var spec ReplaySpec
	if err := decode(r, &spec); err != nil {
		s.fail(w, r, err)
		return
	}
	if spec.Topic == "" || spec.Target != "" {
		s.fail(w, r, BadRequest("topic: a stream needs one, and no target"))
		return
	}
	if err := spec.check(); err != nil {
		s.fail(w, r, err)
		return
	}
	if err := s.mayReplay(r.Context(), spec); err != nil {
		s.fail(w, r, err)
		return
	}
	out := &counting{w: stalling{w, http.NewResponseController(w)}}
	w.Header().Set("Content-Type", "application/x-ndjson")
	err := s.b.Replay.StreamReplay(r.Context(), spec, out)
	if err == nil {
		return
	}
	if out.n == 0 {
		s.fail(w, r, err)
		return
	}
	s.log.Warn("replay stream cut", slog.String("topic", spec.Topic), slog.Any("err", err))
	if out.last == '\n' {
		_ = json.NewEncoder(out).Encode(streamLine{Error: asError(err)})
	}
	_ = out.w.rc.Flush() // what is there goes out before the connection ends
	panic(http.ErrAbortHandler)
}

type counting struct {
	w    stalling
	n    int64
	last byte
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if n > 0 {
		c.last = p[n-1]
	}
	return n, err
}
