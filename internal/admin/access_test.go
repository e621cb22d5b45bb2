package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/auth"
	"varve/internal/meta"
)

// A route that isn't in the table is closed to all but administrators, and a
// user sees of lists what its policies name.
func TestRoutesUnderAccessControl(t *testing.T) {
	m, err := meta.Open("meta", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s, err := auth.Open(m, auth.Config{On: true, Key: auth.NewKey(), Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		s.CreateUser(auth.Anybody, auth.User{Name: "root", Password: "p", Type: auth.Super}),
		s.CreateUser(auth.Anybody, auth.User{Name: "u", Password: "p"}),
		s.PutACL(auth.Anybody, auth.ACL{Subject: "User:u", Policies: []auth.Policy{{Entries: []auth.Entry{
			{Resource: "Topic:mine", Actions: []string{"Pub", "Sub", "Create"}, SourceIPs: []string{"127.0.0.0/8"}, Decision: auth.Allow},
			{Resource: "Group:g", Actions: []string{"Sub", "Update"}, Decision: auth.Allow},
			{Resource: "Topic:far", Actions: []string{"Sub"}, SourceIPs: []string{"10.0.0.0/8"}, Decision: auth.Allow},
		}}}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f := &fake{rows: 1}
	c, _ := start(t, Backend{Topics: f, Messages: f, SQL: f, Retention: &kept{}, Groups: dead{}, Timers: recalls{}, Auth: s})
	want := func(what string, err error, status int) {
		t.Helper()
		var e *Error
		if status == http.StatusOK && err != nil || status != http.StatusOK && (!errors.As(err, &e) || e.Status != status) {
			t.Errorf("%s: %v, want status %d", what, err, status)
		}
	}
	read := func(topic string) error {
		_, err := c.ReadMessages(t.Context(), Stretch{Topic: topic, Max: 1})
		return err
	}
	want("nobody", read("mine"), http.StatusUnauthorized)
	c.As("u", "wrong")
	want("a wrong password", read("mine"), http.StatusUnauthorized)
	c.As("u", "p")
	want("one's own", read("mine"), http.StatusOK)
	want("another's", read("theirs"), http.StatusForbidden)
	want("from elsewhere", read("far"), http.StatusForbidden)
	_, err = c.Apply(t.Context())
	want("what isn't in the table", err, http.StatusForbidden)
	_, err = c.CreateTopic(t.Context(), TopicSpec{Name: "theirs", Queues: 1})
	want("create another's", err, http.StatusForbidden)
	_, err = c.Query(t.Context(), SQLRequest{SQL: "x"}, func([]Column) error { return nil }, func([]any) error { return nil })
	want("SQL", err, http.StatusOK)
	if see := f.asked.(SQLRequest).Visible; !see("mine") || see("theirs") || see("far") {
		t.Error("SQL sees other topics than the user")
	}
	letters, err := c.DeadLetters(t.Context())
	if want("dead letters", err, http.StatusOK); len(letters) != 1 || letters[0].Group != "g" {
		t.Errorf("sees the dead letters %v", letters)
	}
	resend := func(group string) error {
		_, err := c.ResendDeadLetters(t.Context(), group, Resend{All: true})
		return err
	}
	want("one's own dead letters", resend("g"), http.StatusOK)
	want("another's dead letters", resend("h"), http.StatusForbidden)
	recall := func(topic string) error {
		_, err := c.Recall(t.Context(), Recall{Handle: "x", Topic: topic})
		return err
	}
	want("recall of one's own", recall("mine"), http.StatusOK)
	want("recall of another's", recall("theirs"), http.StatusForbidden)
	want("recall from wherever", recall(""), http.StatusForbidden)
	held := func(topic string) error {
		_, err := c.Held(t.Context(), HeldSearch{Topic: topic})
		return err
	}
	want("one's own that wait", held("mine"), http.StatusOK)
	want("all that wait", held(""), http.StatusForbidden)
	c.As("root", "p")
	want("a super user", read("theirs"), http.StatusOK)
	want("its recall", recall(""), http.StatusOK)
}

// otherGroups is Groups under a name that its own method leaves free.
type otherGroups interface{ Groups }

// dead has the dead letters of two groups.
type dead struct{ otherGroups }

func (dead) DeadLetters(context.Context) ([]DeadLetters, error) {
	return []DeadLetters{{Group: "g"}, {Group: "h"}}, nil
}

func (dead) ResendDeadLetters(context.Context, string, Resend) (Resent, error) { return Resent{}, nil }

// recalls takes back whatever is asked.
type recalls struct{}

func (recalls) Held(context.Context, HeldSearch) (HeldPage, error) { return HeldPage{}, nil }

func (recalls) Recall(context.Context, Recall) (Recalled, error) { return Recalled{}, nil }

// What each route needs is written down, and nothing else is.
func TestEveryRouteHasItsRights(t *testing.T) {
	s := newServer(Backend{}, slog.New(slog.DiscardHandler))
	for _, p := range s.patterns {
		if _, listed := rights[p]; !listed {
			t.Errorf("route %s is not in the table of rights", p)
		}
	}
	for p := range rights {
		if !slices.Contains(s.patterns, p) {
			t.Errorf("the table of rights has %s, which is no route", p)
		}
	}
}
