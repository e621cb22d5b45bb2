package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"varve/internal/auth"
)

// right is what a route needs: the actions, of which one is enough, with the
// topic or group that its path or query names, or with the cluster.
type right struct {
	do           auth.Action
	topic, group string // name of a path value, or "?" and that of a query parameter
	own          bool   // the route's handler asks; whoever is known may try
}

const (
	look = auth.Get | auth.List
	read = auth.Sub | auth.Get
)

// rights is what each route needs. A route that is not in it needs to be
// allowed to change the cluster.
var rights = map[string]right{
	"GET /api/v1/status": {own: true},

	"GET /api/v1/topics":                       {own: true},
	"POST /api/v1/topics":                      {own: true},
	"GET /api/v1/topics/{topic}":               {do: look | read, topic: "topic"},
	"DELETE /api/v1/topics/{topic}":            {do: auth.Delete, topic: "topic"},
	"GET /api/v1/schemas":                      {own: true},
	"GET /api/v1/topics/{topic}/schema":        {do: look | read, topic: "topic"},
	"PUT /api/v1/topics/{topic}/schema":        {do: auth.Update, topic: "topic"},
	"DELETE /api/v1/topics/{topic}/schema":     {do: auth.Update, topic: "topic"},
	"POST /api/v1/topics/{topic}/schema/apply": {do: auth.Update, topic: "topic"},
	"POST /api/v1/topics/{topic}/schema/check": {do: read, topic: "topic"},
	"GET /api/v1/groups":                       {own: true},
	"GET /api/v1/groups/{group}":               {do: look | read, group: "group"},
	"POST /api/v1/groups/{group}/reset":        {do: auth.Update, group: "group"}, // and the topic
	"DELETE /api/v1/groups/{group}":            {do: auth.Delete, group: "group"},
	"GET /api/v1/dlq":                          {own: true},
	"POST /api/v1/dlq/{group}/resend":          {do: auth.Update, group: "group"},
	"GET /api/v1/messages/{id}":                {own: true},
	"GET /api/v1/messages":                     {do: read, topic: "?topic"},
	"GET /api/v1/topics/{topic}/messages":      {do: read, topic: "topic"},
	"POST /api/v1/messages":                    {own: true},
	"POST /api/v1/sql":                         {own: true},

	"GET /api/v1/replays":                {own: true},
	"POST /api/v1/replays":               {own: true},
	"GET /api/v1/replays/{id}":           {own: true},
	"POST /api/v1/replays/{id}/{action}": {own: true},
	"POST /api/v1/replay-stream":         {own: true},

	"GET /api/v1/retention/rules":              {do: look},
	"GET /api/v1/retention/explain":            {do: look, topic: "?topic"},
	"GET /api/v1/retention/removals":           {do: look, topic: "?topic"},
	"POST /api/v1/retention/dry-run":           {do: look},
	"GET /api/v1/retention/quotas":             {do: look},
	"PUT /api/v1/retention/quotas/{tenant}":    {do: auth.Update},
	"DELETE /api/v1/retention/quotas/{tenant}": {do: auth.Update},
	"GET /api/v1/holds":                        {do: look},
	"GET /api/v1/holds/{name}":                 {do: look},
	"PUT /api/v1/holds/{name}":                 {do: auth.Update},
	"POST /api/v1/holds/{name}/release":        {do: auth.Update},
	"GET /api/v1/leases":                       {do: look},
	"PUT /api/v1/leases/{name}":                {own: true}, // who may read the topic, and the lease's maker
	"POST /api/v1/leases/{name}/renew":         {own: true},
	"DELETE /api/v1/leases/{name}":             {own: true},
	"GET /api/v1/archive":                      {do: look},
	"GET /api/v1/archive/{topic}/files":        {do: look | read, topic: "topic"},
	"GET /api/v1/archive/{topic}/erasures":     {do: look, topic: "topic"},
	"POST /api/v1/archive/{topic}/erasures":    {do: auth.Delete, topic: "topic"},
	"GET /api/v1/timers":                       {do: look | read, topic: "?topic"},
	"POST /api/v1/timers/recall":               {own: true},
	"GET /api/v1/transactions":                 {do: look, topic: "?topic"},
	"POST /api/v1/transactions/{id}":           {do: auth.Update},
	"GET /api/v1/users":                        {do: look},
	"POST /api/v1/users":                       {do: auth.Update}, // and a super user's to make a super user
	"PUT /api/v1/users/{user}":                 {do: auth.Update},
	"DELETE /api/v1/users/{user}":              {do: auth.Update},
	"GET /api/v1/acls":                         {do: look},
	"POST /api/v1/acls":                        {do: auth.Update},
	"DELETE /api/v1/acls/{user}":               {do: auth.Update},
	"GET /api/v1/quotas":                       {do: look},
	"PUT /api/v1/quotas/{tenant}":              {do: auth.Update},
	"DELETE /api/v1/quotas/{tenant}":           {do: auth.Update},
	"POST /api/v1/retention/apply":             {do: auth.Update},
	"POST /api/v1/archive/flush":               {do: auth.Update},
	"POST /api/v1/archive/compact":             {do: auth.Update},
	"POST /api/v1/hot/trim":                    {do: auth.Update},
	"PUT /api/v1/retention/rules/{name}":       {do: auth.Update},
	"DELETE /api/v1/retention/rules/{name}":    {do: auth.Update},
}

type callerKey struct{}

// callerOf is who makes a request; nobody where that wasn't found out.
func callerOf(ctx context.Context) auth.Caller {
	c, _ := ctx.Value(callerKey{}).(auth.Caller)
	return c
}

// admit finds out who makes a request and whether that user may.
func (s *server) admit(pattern string, r *http.Request) (*http.Request, error) {
	c, err := s.b.Auth.VerifyCaller(r)
	if err != nil {
		return r, err
	}
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
	need, listed := rights[pattern]
	switch {
	case c.Super, need.own:
		return r, nil
	case !listed:
		need.do = auth.Update
	}
	if name := named(r, need.topic); name != "" {
		return r, s.b.Auth.AllowCaller(c, need.do, auth.Topic(name))
	}
	if name := named(r, need.group); name != "" {
		return r, s.b.Auth.AllowCaller(c, need.do, auth.Group(name))
	}
	return r, s.b.Auth.AllowCaller(c, need.do, s.b.Auth.Cluster())
}

func named(r *http.Request, from string) string {
	if q, ok := strings.CutPrefix(from, "?"); ok {
		return r.URL.Query().Get(q)
	}
	return r.PathValue(from)
}

// may reports why the maker of a request may not do something, nil if it may.
func (s *server) may(ctx context.Context, do auth.Action, res ...auth.Resource) error {
	return s.b.Auth.AllowCaller(callerOf(ctx), do, res...)
}

// sees reports whether a list shows something to the maker of a request.
func (s *server) sees(ctx context.Context, res auth.Resource) bool {
	c := callerOf(ctx)
	return s.b.Auth.Visible(c.Identity, c.IP, auth.All, res)
}

// mayReplay asks for both ends of a replay.
func (s *server) mayReplay(ctx context.Context, spec ReplaySpec) error {
	if err := s.may(ctx, read, auth.Topic(spec.Topic)); err != nil || spec.Target == "" {
		return err
	}
	return s.may(ctx, auth.Pub, auth.Topic(spec.Target))
}

// accessError gives an error of access control its place, nil if it is none.
func accessError(err error) *Error {
	switch {
	case errors.Is(err, auth.ErrUnknown):
		return &Error{http.StatusUnauthorized, CodeUnauthorized, err.Error()}
	case errors.Is(err, auth.ErrDenied):
		return &Error{http.StatusForbidden, CodeForbidden, err.Error()}
	case errors.Is(err, auth.ErrNotFound):
		return &Error{http.StatusNotFound, CodeNotFound, err.Error()}
	case errors.Is(err, auth.ErrExists):
		return &Error{http.StatusConflict, CodeConflict, err.Error()}
	case errors.Is(err, auth.ErrBad):
		return &Error{http.StatusBadRequest, CodeBadRequest, err.Error()}
	}
	return nil
}

// accessRoutes are users and policies.
func (s *server) accessRoutes() {
	s.handle("GET /api/v1/users", s.users(func(_ context.Context, r *http.Request) (any, error) {
		return s.b.Auth.Users(r.URL.Query().Get("filter")), nil
	}))
	s.handle("POST /api/v1/users", s.users(func(ctx context.Context, r *http.Request) (any, error) {
		var u auth.User
		if err := decode(r, &u); err != nil {
			return nil, err
		}
		if err := s.b.Auth.CreateUser(callerOf(ctx).Identity, u); err != nil {
			return nil, err
		}
		return s.b.Auth.User(u.Name)
	}))
	s.handle("PUT /api/v1/users/{user}", s.users(func(ctx context.Context, r *http.Request) (any, error) {
		var u auth.User
		if err := decode(r, &u); err != nil {
			return nil, err
		}
		u.Name = r.PathValue("user")
		if err := s.b.Auth.UpdateUser(callerOf(ctx).Identity, u); err != nil {
			return nil, err
		}
		return s.b.Auth.User(u.Name)
	}))
	s.handle("DELETE /api/v1/users/{user}", s.users(func(ctx context.Context, r *http.Request) (any, error) {
		return nil, s.b.Auth.DeleteUser(callerOf(ctx).Identity, r.PathValue("user"))
	}))
	s.handle("GET /api/v1/acls", s.users(func(_ context.Context, r *http.Request) (any, error) {
		q := r.URL.Query()
		return s.b.Auth.ACLs(q.Get("subject"), q.Get("resource")), nil
	}))
	s.handle("POST /api/v1/acls", s.users(func(ctx context.Context, r *http.Request) (any, error) {
		var a auth.ACL
		if err := decode(r, &a); err != nil {
			return nil, err
		}
		return nil, s.b.Auth.PutACL(callerOf(ctx).Identity, a)
	}))
	s.handle("DELETE /api/v1/acls/{user}", s.users(func(ctx context.Context, r *http.Request) (any, error) {
		q := r.URL.Query()
		return nil, s.b.Auth.DeleteACL(callerOf(ctx).Identity, auth.Subject(r.PathValue("user")), q.Get("type"), q.Get("resource"))
	}))
}

func (s *server) quotaRoutes() {
	s.handle("GET /api/v1/quotas", s.quotas(func(ctx context.Context, _ *http.Request) (any, error) {
		return s.b.Quotas.Quotas(ctx)
	}))
	s.handle("PUT /api/v1/quotas/{tenant}", s.quotas(func(ctx context.Context, r *http.Request) (any, error) {
		var q Quota
		if err := decode(r, &q); err != nil {
			return nil, err
		}
		q.Tenant = r.PathValue("tenant")
		return q, s.b.Quotas.SetQuota(ctx, q)
	}))
	s.handle("DELETE /api/v1/quotas/{tenant}", s.quotas(func(ctx context.Context, r *http.Request) (any, error) {
		return nil, s.b.Quotas.DeleteQuota(ctx, r.PathValue("tenant"))
	}))
}

func (s *server) quotas(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Quotas == nil {
			return nil, missing("broker", "has quotas")
		}
		return f(ctx, r)
	}
}

func (s *server) users(f action) action {
	return func(ctx context.Context, r *http.Request) (any, error) {
		if s.b.Auth == nil {
			return nil, missing("broker", "keeps users")
		}
		return f(ctx, r)
	}
}
