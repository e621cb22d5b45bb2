package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"varve/internal/archive"
	"varve/internal/auth"
)

// Prefix is where the catalog stands on its port; an engine's "uri" ends so.
const Prefix = "/iceberg"

// Limits of a request.
const (
	maxBody  = 1 << 20 // a scan report or a token request
	deadline = 30 * time.Second
)

// Config sets up a Handler.
type Config struct {
	Archive *archive.Archive
	// Auth judges who reads what; nil lets everybody.
	Auth *auth.Store
	// Properties are what an engine needs to reach the bucket, such as
	// "s3.endpoint". They are defaults: what the engine has been told goes before.
	Properties map[string]string
	// Lease keeps a snapshot for an engine that asks for it; nil where nobody
	// keeps leases.
	Lease  func(ctx context.Context, r LeaseRequest) error
	Logger *slog.Logger
}

// Handler serves the catalog below Prefix.
func Handler(c Config) http.Handler {
	s := &server{Config: c, mux: http.NewServeMux()}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	for _, r := range routes {
		s.mux.HandleFunc(r.method+" "+Prefix+r.path, s.guard(r))
	}
	s.mux.HandleFunc(Prefix+"/", s.guard(route{do: (*server).other}))
	return s.mux
}

type server struct {
	Config
	mux *http.ServeMux
}

// route is a request that the catalog answers with one JSON value, or with
// nothing where the value is nil.
type route struct {
	method, path string
	do           func(*server, *call) (any, error)
	open         bool   // to whom is not known yet
	listed       string // as the configuration lists it, "" where it doesn't
}

// Paths with their parameters.
const (
	namespacePath = "/v1/namespaces/{namespace}"
	tablePath     = namespacePath + "/tables/{table}"
)

var routes []route

// The configuration lists the routes, so they can't be initialized in place.
func init() {
	routes = []route{
		{method: "GET", path: "/v1/config", do: (*server).config},
		{method: "POST", path: "/v1/oauth/tokens", do: (*server).token, open: true},
		{method: "GET", path: "/v1/namespaces", do: (*server).namespaces, listed: "GET /v1/{prefix}/namespaces"},
		// GET of a path is HEAD as well.
		{method: "GET", path: namespacePath, do: (*server).namespace, listed: "GET /v1/{prefix}/namespaces/{namespace}"},
		{method: "GET", path: namespacePath + "/tables", do: (*server).tables, listed: "GET /v1/{prefix}/namespaces/{namespace}/tables"},
		{method: "GET", path: tablePath, do: (*server).table, listed: "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}"},
		{method: "POST", path: tablePath + "/metrics", do: (*server).report, listed: "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics"},
		// Engines ask for views of a name before they give up; there are none.
		{method: "GET", path: namespacePath + "/views", do: (*server).views},
		{method: "GET", path: namespacePath + "/views/{view}", do: (*server).view},
	}
}

// call is one request on its way.
type call struct {
	ctx    context.Context
	w      http.ResponseWriter
	r      *http.Request
	caller auth.Caller
}

// guard bounds a request, finds out who makes it, and answers.
func (s *server) guard(to route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), deadline)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(2 * deadline))
		c := &call{ctx: ctx, w: w, r: r}
		var v any
		var err error
		if !to.open {
			c.caller, err = s.Auth.VerifyCaller(r)
		}
		if err == nil {
			v, err = to.do(s, c)
		}
		if err != nil {
			s.fail(c, err)
			return
		}
		s.answer(c, http.StatusOK, v)
	}
}

// answer writes a value, or nothing where it is nil and nothing was written.
func (s *server) answer(c *call, status int, v any) {
	if v == nil {
		c.w.WriteHeader(http.StatusNoContent)
		return
	}
	if v == unchanged {
		c.w.WriteHeader(http.StatusNotModified)
		return
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	enc := json.NewEncoder(c.w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		s.Logger.Debug("answer not sent", slog.String("path", c.r.URL.Path), slog.Any("err", err))
	}
}

// unchanged answers that the caller has the newest version already.
var unchanged any = new(struct{ _ byte })

// Error is how a request is refused. Type is one of the specification's.
type Error struct {
	Message string `json:"message"`
	Type    string `json:"type"`
	Status  int    `json:"code"`
}

func (e *Error) Error() string { return e.Message }

func (s *server) fail(c *call, err error) {
	var denied *oauthError
	if errors.As(err, &denied) {
		s.answer(c, denied.status, denied)
		return
	}
	e := asError(err)
	switch {
	case e.Status == http.StatusUnauthorized:
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="varve"`)
	case e.Status == http.StatusServiceUnavailable:
		c.w.Header().Set("Retry-After", "5")
	case e.Status >= http.StatusInternalServerError:
		s.Logger.Error("catalog request failed", slog.String("method", c.r.Method), slog.String("path", c.r.URL.Path), slog.Any("err", err))
	}
	s.answer(c, e.Status, map[string]*Error{"error": e})
}

func asError(err error) *Error {
	var own *Error
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &tooBig):
		return &Error{fmt.Sprintf("the request's body is over %d bytes", maxBody), "BadRequestException", http.StatusRequestEntityTooLarge}
	case errors.Is(err, auth.ErrUnknown):
		return &Error{err.Error(), "NotAuthorizedException", http.StatusUnauthorized}
	case errors.Is(err, ErrBadLease):
		return &Error{err.Error(), "BadRequestException", http.StatusBadRequest}
	case errors.Is(err, auth.ErrDenied), errors.Is(err, ErrOthersLease):
		return &Error{err.Error(), "ForbiddenException", http.StatusForbidden}
	case errors.Is(err, archive.ErrNoTable):
		return &Error{err.Error(), "NoSuchTableException", http.StatusNotFound}
	case errors.Is(err, archive.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return &Error{err.Error(), "ServiceUnavailableException", http.StatusServiceUnavailable}
	}
	return &Error{err.Error(), "InternalServerError", http.StatusInternalServerError}
}

// other refuses what would write, and what the specification doesn't know.
func (s *server) other(c *call) (any, error) {
	path := strings.TrimPrefix(c.r.URL.Path, Prefix)
	if !slices.Contains([]string{http.MethodGet, http.MethodHead}, c.r.Method) {
		return nil, &Error{
			fmt.Sprintf("%s %s: the archive's tables are written by Varve alone; engines may read them", c.r.Method, path), "ForbiddenException", http.StatusForbidden,
		}
	}
	return nil, &Error{fmt.Sprintf("no route %s %s", c.r.Method, path), "NotFoundException", http.StatusNotFound}
}
