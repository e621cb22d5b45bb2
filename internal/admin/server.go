package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"varve/internal/intake"
	"varve/internal/units"
)

// Limits of a request.
const (
	maxBody       = 8 << 20 // a 4 MiB message in base64 and its envelope
	routeDeadline = 30 * time.Second
	flushDeadline = 10 * time.Minute
	defaultPage   = 32
)

// MaxPage is the most messages of one answer.
const MaxPage = 1024

// Handler serves the API.
func Handler(b Backend, log *slog.Logger) http.Handler { return newServer(b, log).mux }

func newServer(b Backend, log *slog.Logger) *server {
	s := &server{b: b, log: log, mux: http.NewServeMux()}
	s.handle("GET /api/v1/status", s.status)
	s.topicRoutes()
	s.messageRoutes()
	s.transactionRoutes()
	s.timerRoutes()
	s.replayRoutes()
	s.archiveRoutes()
	s.policyRoutes()
	s.guardRoutes()
	s.accessRoutes()
	s.quotaRoutes()
	s.schemaRoutes()
	s.mux.HandleFunc("POST /api/v1/sql", s.guard("POST /api/v1/sql", s.sql))
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, NotFound("no route %s %s", r.Method, r.URL.Path))
	})
	return s
}

type server struct {
	b        Backend
	log      *slog.Logger
	mux      *http.ServeMux
	patterns []string // of the routes that ask who calls
}

// action is a route that answers one JSON value.
type action func(ctx context.Context, r *http.Request) (any, error)

func (s *server) handle(pattern string, f action) { s.handleWithin(routeDeadline, pattern, f) }

func (s *server) handleWithin(d time.Duration, pattern string, f action) {
	s.mux.HandleFunc(pattern, s.guard(pattern, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), d)
		defer cancel()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d + routeDeadline))
		v, err := f(ctx, r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if v == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			s.log.Debug("answer not sent", slog.String("path", r.URL.Path), slog.Any("err", err))
		}
	}))
}

// guard bounds the body and refuses writes that a page of another origin made
// a browser send, and whatever the user may not do.
func (s *server) guard(pattern string, f http.HandlerFunc) http.HandlerFunc {
	s.patterns = append(s.patterns, pattern)
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if r.Method != http.MethodGet && r.Method != http.MethodHead && foreign(r) {
			s.fail(w, r, &Error{http.StatusForbidden, CodeForbidden, "a page of another origin may not change anything here"})
			return
		}
		r, err := s.admit(pattern, r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		f(w, r)
	}
}

func foreign(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host
}

func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		e = &Error{http.StatusRequestEntityTooLarge, CodeLimit, fmt.Sprintf("request body is over %d bytes", maxBody)}
	}
	if errors.Is(err, intake.ErrFull) {
		e = &Error{http.StatusServiceUnavailable, CodeLimit, err.Error()}
	}
	if e.Status >= http.StatusInternalServerError && e.Code == CodeInternal {
		s.log.Error("request failed", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("err", err))
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="varve"`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(map[string]*Error{"error": e})
}

// decode reads the whole body as one JSON value.
func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) || errors.Is(err, intake.ErrFull) {
			return err
		}
		if errors.Is(err, io.EOF) {
			return BadRequest("request body is empty, want JSON")
		}
		return BadRequest("request body: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return BadRequest("request body: more than one JSON value")
	}
	return nil
}

func missing(role, what string) error {
	return &Error{http.StatusNotImplemented, CodeRoleMissing, fmt.Sprintf("this process doesn't run the %s role, which %s", role, what)}
}

func (s *server) status(ctx context.Context, _ *http.Request) (any, error) {
	return s.b.Status(ctx), nil
}

// query reads typed query parameters and keeps the first error.
type query struct {
	values url.Values
	err    error
}

func (q *query) text(name string) string { return q.values.Get(name) }

func (q *query) number(name string, def int64) int64 {
	s := q.values.Get(name)
	if s == "" {
		return def
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil && q.err == nil {
		q.err = BadRequest("%s: %q is not a whole number", name, s)
	}
	return v
}

func (q *query) when(name string) time.Time {
	s := q.values.Get(name)
	if s == "" {
		return time.Time{}
	}
	t, err := ParseTime(s, time.Now())
	if err != nil && q.err == nil {
		q.err = BadRequest("%s: %v", name, err)
	}
	return t
}

func (q *query) page() int {
	n := q.number("max", defaultPage)
	if q.err == nil && (n < 1 || n > MaxPage) {
		q.err = BadRequest("max: %d is not between 1 and %d", n, MaxPage)
	}
	return int(n)
}

// ParseTime reads an RFC 3339 time, a date, milliseconds since 1970, or a
// duration before now such as "15m", "-15m" or "7d".
func ParseTime(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	if s == "now" {
		return now, nil
	}
	if d, err := units.ParseDuration(strings.TrimPrefix(s, "-")); err == nil {
		return now.Add(-time.Duration(d)), nil
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time; write 2026-01-31T09:30:00Z, milliseconds since 1970, or a time ago such as 15m or 7d", s)
}
