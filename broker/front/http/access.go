package http

import (
	"errors"
	"net/http"
	"time"

	"varve/internal/auth"
)

// clockSkew is how far a signed request's date may be from now.
const clockSkew = 15 * time.Minute

// authorize checks who makes a request and whether that user may, where access
// control is on. This is the table of what each request needs.
func (f *Front) authorize(c *call, what string) error {
	if !f.cfg.Auth.Enabled() {
		return nil
	}
	id, err := f.verify(c.r)
	if err != nil {
		return err
	}
	who := auth.Caller{Identity: id, IP: c.from.Addr()}
	var need []auth.Resource
	var do auth.Action
	topic := auth.Topic(c.topic)
	switch what {
	case "POST", "GET pop", "DELETE commit", "DELETE rollback":
		if do = auth.Pub; topic.Kind == auth.KindGroup { // a group's retry topic
			do = auth.Sub
		}
		need = []auth.Resource{topic}
	default: // "GET", "GET order", "DELETE"
		group, err := c.group()
		if err != nil {
			return err
		}
		do, need = auth.Sub, []auth.Resource{topic, auth.Group(group)}
	}
	if err := f.cfg.Auth.AllowCaller(who, do, need...); err != nil {
		if errors.Is(err, auth.ErrDenied) {
			return refused(accessDenied, "%v", err)
		}
		return err
	}
	return nil
}

// verify finds out who signed a request. The date is signed too, so an old
// request can't be sent again for long.
func (f *Front) verify(r *http.Request) (auth.Identity, error) {
	if r.Header.Get("Authorization") == "" {
		return auth.Identity{}, refused(missingAuthorization, "the request has no Authorization header")
	}
	id, err := f.cfg.Auth.VerifyHTTP(r)
	if err != nil {
		return id, refused(badSignature, "%v", err)
	}
	if _, _, basic := r.BasicAuth(); basic {
		return id, nil
	}
	text := r.Header.Get("Date")
	if text == "" {
		return id, refused(missingDate, "the request has no Date header")
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return id, refused(invalidDate, "date %q, want one such as %s", text, http.TimeFormat)
	}
	if d := f.cfg.Now().Sub(at); d > clockSkew || d < -clockSkew {
		return id, refused(expired, "the request's date is %s away from now, want at most %s", d.Abs().Round(time.Second), clockSkew)
	}
	return id, nil
}
