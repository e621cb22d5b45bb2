package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Transactions is what the API needs to know of transactions.
type Transactions interface {
	Transactions(ctx context.Context, s TransactionSearch) ([]Transaction, error)
	// ResolveTransaction does one of Resolutions.
	ResolveTransaction(ctx context.Context, id, resolution string) error
}

// Resolutions are what can be done with a transaction by hand.
var Resolutions = []string{"commit", "rollback", "restore"}

// TransactionSearch chooses transactions; empty fields choose all.
type TransactionSearch struct {
	Topic, Group string
	GivenUp      bool
	Max          int
}

// Transaction is a half message: one in doubt, or one that was given up.
type Transaction struct {
	ID        string    `json:"id"` // the half's offsetMsgId
	Physical  int64     `json:"physical"`
	Topic     string    `json:"topic"`
	Queue     int32     `json:"queue"`
	Group     string    `json:"group"`
	MsgID     string    `json:"msg_id"`
	Stored    time.Time `json:"stored"`
	Checks    int       `json:"checks"`
	LastCheck time.Time `json:"last_check,omitzero"`
	NextCheck time.Time `json:"next_check,omitzero"`
	GivenUp   bool      `json:"given_up,omitempty"`
	Message   Message   `json:"message"`
}

// resolve is the body of a POST.
type resolve struct {
	Resolution string `json:"resolution"`
}

func (s *server) transactionRoutes() {
	s.handle("GET /api/v1/transactions", s.transactions(func(ctx context.Context, r *http.Request) (any, error) {
		q := query{values: r.URL.Query()}
		search := TransactionSearch{Topic: q.text("topic"), Group: q.text("group"), GivenUp: q.text("given_up") == "true", Max: q.page()}
		if q.err != nil {
			return nil, q.err
		}
		return s.b.Transactions.Transactions(ctx, search)
	}))
	s.handle("POST /api/v1/transactions/{id}", s.transactions(func(ctx context.Context, r *http.Request) (any, error) {
		var body resolve
		if err := decode(r, &body); err != nil {
			return nil, err
		}
		return nil, s.b.Transactions.ResolveTransaction(ctx, r.PathValue("id"), body.Resolution)
	}))
}

func (s *server) transactions(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Transactions == nil {
			return nil, missing("broker", "knows transactions")
		}
		return f(ctx, r)
	}
}

// Transactions lists half messages.
func (c *Client) Transactions(ctx context.Context, s TransactionSearch) ([]Transaction, error) {
	q := url.Values{"topic": {s.Topic}, "group": {s.Group}, "given_up": {strconv.FormatBool(s.GivenUp)}}
	if s.Max > 0 {
		q.Set("max", strconv.Itoa(s.Max))
	}
	return get[[]Transaction](ctx, c, "/transactions", q)
}

// ResolveTransaction ends or restores a transaction by hand.
func (c *Client) ResolveTransaction(ctx context.Context, id, resolution string) error {
	_, err := call[any](ctx, c, http.MethodPost, "/transactions/"+url.PathEscape(id), nil, resolve{resolution})
	return err
}
