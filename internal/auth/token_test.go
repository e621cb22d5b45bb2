package auth

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestTokenStandsForThePassword(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := with(t, root, alice)
	s.now = func() time.Time { return now }
	id, err := s.VerifyPassword("alice", "s3cret")
	if err != nil || id.User != "alice" {
		t.Fatalf("%+v, %v", id, err)
	}
	if _, err := s.VerifyPassword("alice", "else"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a wrong password: %v", err)
	}
	token, life, err := s.Token(id)
	if err != nil {
		t.Fatal(err)
	}
	r := http.Request{Header: http.Header{"Authorization": {"Bearer " + token}}}
	if id, err = s.VerifyHTTP(&r); err != nil || id.User != "alice" || id.Super {
		t.Errorf("%+v, %v", id, err)
	}

	parts := strings.Split(token, ".")
	parts[0] = tokenBase.EncodeToString([]byte("root"))
	for name, bad := range map[string]string{
		"another user's name": strings.Join(parts, "."), "a part of it": parts[2], "nothing": "", "no base64": "a!.b.c", "no user": "." + parts[1] + "." + parts[2],
	} {
		if _, err := s.VerifyToken(bad); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := open(t, vfs.NewMem(), NewKey(), nil)
	if err := other.CreateUser(Anybody, alice); err != nil {
		t.Fatal(err)
	}
	if _, err := other.VerifyToken(token); !errors.Is(err, ErrUnknown) {
		t.Errorf("a token of another process: %v", err)
	}

	now = now.Add(life - time.Second)
	if _, err := s.VerifyToken(token); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	now = now.Add(time.Second)
	if _, err := s.VerifyToken(token); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "has ended at 2026-03-01T13:00:00Z") {
		t.Errorf("at its end: %v", err)
	}
	now = now.Add(-life)
	if err := s.UpdateUser(Anybody, User{Name: "alice", Password: "new"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.VerifyToken(token); !errors.Is(err, ErrUnknown) {
		t.Errorf("after another password: %v", err)
	}
}
