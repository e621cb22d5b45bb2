package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"varve/internal/auth"
)

func (s *server) messageRoutes() {
	s.handle("GET /api/v1/messages/{id}", s.messages(func(ctx context.Context, r *http.Request) (any, error) {
		m, err := s.b.Messages.MessageByID(ctx, r.URL.Query().Get("topic"), r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		return m, s.may(ctx, read, auth.Topic(m.Topic))
	}))
	s.handle("GET /api/v1/messages", s.messages(func(ctx context.Context, r *http.Request) (any, error) {
		q := query{values: r.URL.Query()}
		k := KeySearch{
			Topic: q.text("topic"), Key: q.text("key"), Unique: q.text("unique") == "true",
			From: q.when("from"), To: q.when("to"), Max: q.page(),
		}
		if q.err == nil && (k.Topic == "" || k.Key == "") {
			q.err = BadRequest("topic and key: both are needed")
		}
		if q.err != nil {
			return nil, q.err
		}
		return s.b.Messages.MessagesByKey(ctx, k)
	}))
	s.handle("GET /api/v1/topics/{topic}/messages", s.messages(func(ctx context.Context, r *http.Request) (any, error) {
		q := query{values: r.URL.Query()}
		st := Stretch{
			Topic: r.PathValue("topic"), Broker: q.text("broker"), Queue: int32(q.number("queue", 0)),
			Offset: q.number("offset", -1), From: q.when("from"), Tags: q.text("tags"), SQL: q.text("sql"), Max: q.page(),
		}
		if q.err != nil {
			return nil, q.err
		}
		return s.b.Messages.ReadMessages(ctx, st)
	}))
	s.handle("POST /api/v1/messages", s.messages(func(ctx context.Context, r *http.Request) (any, error) {
		var m Outgoing
		if err := decode(r, &m); err != nil {
			return nil, err
		}
		if m.Topic == "" {
			return nil, BadRequest("topic: a message needs one")
		}
		if m.Body != "" && m.BodyBase64 != "" {
			return nil, BadRequest("body and body_base64: give one of them")
		}
		if err := s.may(ctx, auth.Pub, auth.Topic(m.Topic)); err != nil {
			return nil, err
		}
		return s.b.Messages.SendMessage(ctx, m)
	}))
}

func (s *server) messages(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Messages == nil {
			return nil, missing("broker", "reads and takes messages")
		}
		return f(ctx, r)
	}
}

// streamLine is one line of a streamed SQL answer: first the columns, then a
// row a line, last the end or the error.
type streamLine struct {
	Columns []Column `json:"columns,omitempty"`
	Row     []any    `json:"row,omitempty"`
	End     *SQLEnd  `json:"end,omitempty"`
	Error   *Error   `json:"error,omitempty"`
}

// stallLimit is how long a client may take none of a streamed answer.
const stallLimit = 30 * time.Second

func (s *server) sql(w http.ResponseWriter, r *http.Request) {
	if s.b.SQL == nil {
		s.fail(w, r, missing("history", "answers SQL"))
		return
	}
	var req SQLRequest
	if err := decode(r, &req); err != nil {
		s.fail(w, r, err)
		return
	}
	c := callerOf(r.Context())
	req.Visible = func(topic string) bool { return s.b.Auth.Visible(c.Identity, c.IP, read, auth.Topic(topic)) }
	if req.Tenant == "" {
		req.Tenant = s.b.Auth.Namespace(c.Identity)
	}
	out := bufio.NewWriterSize(stalling{w, http.NewResponseController(w)}, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	started := false
	end, err := s.b.SQL.Query(r.Context(), req, func(c []Column) error {
		started = true
		w.Header().Set("Content-Type", "application/x-ndjson")
		return enc.Encode(streamLine{Columns: c})
	}, func(row []any) error { return enc.Encode(streamLine{Row: row}) })
	switch {
	case err != nil && !started:
		s.fail(w, r, err)
		return
	case err != nil:
		err = enc.Encode(streamLine{Error: asError(err)})
	default:
		err = enc.Encode(streamLine{End: &end})
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		s.log.Debug("answer not sent", slog.String("path", r.URL.Path), slog.Any("err", err))
	}
}

// stalling gives every write to a client its own deadline.
type stalling struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s stalling) Write(p []byte) (int, error) {
	_ = s.rc.SetWriteDeadline(time.Now().Add(stallLimit))
	return s.w.Write(p)
}
