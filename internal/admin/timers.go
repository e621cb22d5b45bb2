package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"varve/internal/auth"
)

// Held is one message that waits for its time.
type Held struct {
	Topic        string    `json:"topic"`
	MsgID        string    `json:"msg_id"`
	Due          time.Time `json:"due"`
	Sent         time.Time `json:"sent"`
	Level        string    `json:"level,omitempty"` // delay level, if it has one
	Bytes        int       `json:"bytes"`
	RecallHandle string    `json:"recall_handle"`
}

// HeldPage is some of them, soonest first.
type HeldPage struct {
	Held  []Held `json:"held"`
	Total int64  `json:"total"` // that wait, of all topics
	More  bool   `json:"more"`
}

// HeldSearch asks for messages that wait.
type HeldSearch struct {
	Topic string
	From  time.Time // due then or later
	Max   int
}

// Recall names a message to take back. The topic is the handle's own where it
// is empty.
type Recall struct {
	Handle string `json:"handle"`
	Topic  string `json:"topic,omitempty"`
}

// Recalled is a message that was taken back.
type Recalled struct {
	MsgID string `json:"msg_id"`
}

func (s *server) timerRoutes() {
	s.handle("GET /api/v1/timers", s.timers(func(ctx context.Context, r *http.Request) (any, error) {
		q := query{values: r.URL.Query()}
		h := HeldSearch{Topic: q.text("topic"), From: q.when("from"), Max: q.page()}
		if q.err != nil {
			return nil, q.err
		}
		return s.b.Timers.Held(ctx, h)
	}))
	s.handle("POST /api/v1/timers/recall", s.timers(func(ctx context.Context, r *http.Request) (any, error) {
		var in Recall
		if err := decode(r, &in); err != nil {
			return nil, err
		}
		if in.Handle == "" {
			return nil, BadRequest("handle: a recall needs one")
		}
		do, of := auth.Pub, auth.Topic(in.Topic)
		if in.Topic == "" { // it is whichever the handle says
			do, of = auth.Update, s.b.Auth.Cluster()
		}
		if err := s.may(ctx, do, of); err != nil {
			return nil, err
		}
		return s.b.Timers.Recall(ctx, in)
	}))
}

func (s *server) timers(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Timers == nil {
			return nil, missing("broker", "holds messages back")
		}
		return f(ctx, r)
	}
}

// Held lists messages that wait for their time.
func (c *Client) Held(ctx context.Context, s HeldSearch) (HeldPage, error) {
	q := url.Values{}
	if s.Topic != "" {
		q.Set("topic", s.Topic)
	}
	setTime(q, "from", s.From)
	setNumber(q, "max", int64(s.Max))
	return get[HeldPage](ctx, c, "/timers", q)
}

// Recall takes back a message that waits.
func (c *Client) Recall(ctx context.Context, r Recall) (Recalled, error) {
	return call[Recalled](ctx, c, http.MethodPost, "/timers/recall", nil, r)
}
