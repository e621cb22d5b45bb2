package auth

import (
	"bytes"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/meta"
)

var home = netip.MustParseAddr("10.1.2.3")

// open makes a store that is on, over a state store of the test.
func open(t testing.TB, fs vfs.FS, key []byte, log *slog.Logger) *Store {
	t.Helper()
	m, err := meta.Open("meta", fs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	s, err := Open(m, Config{On: true, Key: key, Cluster: "DefaultCluster", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func with(t testing.TB, users ...User) *Store {
	t.Helper()
	s := open(t, vfs.NewMem(), NewKey(), nil)
	for _, u := range users {
		if err := s.CreateUser(Anybody, u); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

var (
	root  = User{Name: "root", Password: "r00t", Type: Super}
	alice = User{Name: "alice", Password: "s3cret"}
)

func fieldsOf(m map[string]string) iter.Seq2[string, string] { return maps.All(m) }

// The signatures here were computed by another implementation.
func TestVerifyRemoting(t *testing.T) {
	s := with(t, root, alice)
	body := []byte("hello")
	all := map[string]string{
		"AccessKey": "alice", "b": "orders", "a": "producers", "SecurityToken": "tok", "i": "k\x01v\x02", "_UNIQUE_KEY_QUERY": "true",
	}
	plain := map[string]string{"AccessKey": "alice", "b": "orders", "a": "producers"}
	for name, c := range map[string]struct {
		fields    map[string]string
		signature string
		version   int
		bad       string
	}{
		"java 5":                    {all, "2bhOGl8flWAZRmmr/9ERC4ta/0A=", 479, ""},
		"java up to 4.9.3":          {all, "YF54g4xz1kZTzTbaBgpx9omG/Bg=", 399, ""},
		"go with a token":           {all, "LfYXhdNY0zIS4lI9Y5d1N3r42oI=", 317 + 200, ""},
		"plain":                     {plain, "f1u4ytia0fdGxX/XGjoKFIobgXM=", 317, ""},
		"4.9.3's form from a later": {all, "YF54g4xz1kZTzTbaBgpx9omG/Bg=", 400, "doesn't match"},
		"another body's":            {plain, "2bhOGl8flWAZRmmr/9ERC4ta/0A=", 317, "doesn't match"},
		"none":                      {plain, "", 317, "missing or malformed"},
		"too long":                  {plain, "f1u4ytia0fdGxX/XGjoKFIobgXM=AAAA", 317, "malformed"},
		"no base64":                 {plain, "!!!!", 317, "missing or malformed"},
		"not signed":                {map[string]string{"b": "orders"}, "", 317, "no AccessKey"},
		"a user that there isn't":   {map[string]string{"AccessKey": "eve"}, "f1u4ytia0fdGxX/XGjoKFIobgXM=", 317, "User:eve is not found"},
	} {
		t.Run(name, func(t *testing.T) {
			fields := maps.Clone(c.fields)
			if c.signature != "" {
				fields["Signature"] = c.signature
			}
			id, err := s.VerifyRemoting(fieldsOf(fields), body, c.version)
			if c.bad == "" {
				if err != nil || id != (Identity{User: "alice", via: viaRemoting}) {
					t.Errorf("got %+v, %v", id, err)
				}
				return
			}
			if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("error %v, want one with %q", err, c.bad)
			}
		})
	}
	if SignRemoting(fieldsOf(plain), body, "s3cret") != "f1u4ytia0fdGxX/XGjoKFIobgXM=" {
		t.Error("our own signature is another")
	}
	if err := s.UpdateUser(Anybody, User{Name: "alice", Status: Disable}); err != nil {
		t.Fatal(err)
	}
	plain["Signature"] = "f1u4ytia0fdGxX/XGjoKFIobgXM="
	if _, err := s.VerifyRemoting(fieldsOf(plain), body, 317); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "disabled") {
		t.Errorf("disabled: %v", err)
	}
}

func TestVerifyGRPC(t *testing.T) {
	s := with(t, alice)
	const date, good = "20260131T093000Z", "MQv2-HMAC-SHA1 Credential=alice/cn-hz/RocketMQ, SignedHeaders=x-mq-date-time, Signature=da0d8056f2ffc1928571ed14c20080e786fde4a1"
	if id, err := s.VerifyGRPC(good, date); err != nil || id.User != "alice" {
		t.Errorf("got %+v, %v", id, err)
	}
	if _, err := s.VerifyGRPC(strings.Replace(good, "alice/cn-hz/RocketMQ", "alice", 1), date); err != nil {
		t.Errorf("credential without a scope: %v", err)
	}
	for _, c := range [][2]string{{"", date}, {good, ""}, {good, "20260131T093001Z"}, {strings.Replace(good, "alice", "eve", 1), date}, {good + "00", date}, {"x", date}} {
		if _, err := s.VerifyGRPC(c[0], c[1]); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q at %q: %v", c[0], c[1], err)
		}
	}
}

func TestVerifyHTTP(t *testing.T) {
	s := with(t, alice)
	request := func(authorization string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/topics/orders/messages?consumer=g&numOfMessages=16", nil)
		r.Header.Set("Content-Type", "text/xml;charset=utf-8")
		r.Header.Set("Date", "Sat, 31 Jan 2026 09:30:00 GMT")
		r.Header.Set("x-mq-version", "2015-06-06")
		r.Header.Set("X-MQ-B", "2")
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		return r
	}
	if id, err := s.VerifyHTTP(request("MQ alice:8RDtIY/gYHQg1AMt4Z2kXZi0Qqo=")); err != nil || id.User != "alice" {
		t.Errorf("MQ: %+v, %v", id, err)
	}
	r := request("MQ alice:8RDtIY/gYHQg1AMt4Z2kXZi0Qqo=")
	r.Header.Set("Date", "Sat, 31 Jan 2026 09:30:01 GMT")
	if _, err := s.VerifyHTTP(r); !errors.Is(err, ErrUnknown) {
		t.Errorf("another date: %v", err)
	}
	r = request("")
	r.SetBasicAuth("alice", "s3cret")
	if id, err := s.VerifyHTTP(r); err != nil || id.User != "alice" {
		t.Errorf("Basic: %+v, %v", id, err)
	}
	r.SetBasicAuth("alice", "s3cre")
	if _, err := s.VerifyHTTP(r); !errors.Is(err, ErrUnknown) {
		t.Errorf("wrong password: %v", err)
	}
	for _, a := range []string{"", "Basic x", "Bearer x", "MQ", "MQ alice", "MQ eve:8RDtIY/gYHQg1AMt4Z2kXZi0Qqo="} {
		if _, err := s.VerifyHTTP(request(a)); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", a, err)
		}
	}
}

func TestDecisions(t *testing.T) {
	for name, c := range map[string]struct {
		custom, second []Entry
		action         Action
		resource       Resource
		ip             string
		want           bool
	}{
		"nothing":                        {nil, nil, Pub, Topic("orders"), "", false},
		"literal":                        {[]Entry{{"Topic:orders", []string{"Pub"}, nil, Allow}}, nil, Pub, Topic("orders"), "", true},
		"another action":                 {[]Entry{{"Topic:orders", []string{"Pub"}, nil, Allow}}, nil, Sub, Topic("orders"), "", false},
		"one of several actions":         {[]Entry{{"Topic:orders", []string{"Get"}, nil, Allow}}, nil, Pub | Sub | Get, Topic("orders"), "", true},
		"another kind":                   {[]Entry{{"Group:orders", []string{"All"}, nil, Allow}}, nil, Pub, Topic("orders"), "", false},
		"all":                            {[]Entry{{"*", []string{"all"}, nil, Allow}}, nil, Delete, Topic("orders"), "", true},
		"prefix":                         {[]Entry{{"topic:ord*", []string{"pub"}, nil, "allow"}}, nil, Pub, Topic("orders"), "", true},
		"literal before prefix":          {[]Entry{{"Topic:ord*", []string{"Pub"}, nil, Allow}, {"Topic:orders", []string{"Pub"}, nil, Deny}}, nil, Pub, Topic("orders"), "", false},
		"longer prefix first":            {[]Entry{{"Topic:o*", []string{"Pub"}, nil, Deny}, {"Topic:ord*", []string{"Pub"}, nil, Allow}}, nil, Pub, Topic("orders"), "", true},
		"prefix before every":            {[]Entry{{"Topic:*", []string{"Pub"}, nil, Deny}, {"Topic:o*", []string{"Pub"}, nil, Allow}}, nil, Pub, Topic("orders"), "", true},
		"kind before any":                {[]Entry{{"*", []string{"Pub"}, nil, Deny}, {"Topic:*", []string{"Pub"}, nil, Allow}}, nil, Pub, Topic("orders"), "", true},
		"default where custom is silent": {[]Entry{{"Topic:x", []string{"Pub"}, nil, Deny}}, []Entry{{"Topic:orders", []string{"Pub"}, nil, Allow}}, Pub, Topic("orders"), "", true},
		"custom before default":          {[]Entry{{"*", []string{"Pub"}, nil, Deny}}, []Entry{{"Topic:orders", []string{"Pub"}, nil, Allow}}, Pub, Topic("orders"), "", false},
		"retry topic is its group":       {[]Entry{{"Group:g", []string{"Sub"}, nil, Allow}}, nil, Sub, Topic("%RETRY%g"), "", true},
		"address":                        {[]Entry{{"Topic:orders", []string{"Pub"}, []string{"10.1.2.3"}, Allow}}, nil, Pub, Topic("orders"), "10.1.2.3", true},
		"address as IPv6":                {[]Entry{{"Topic:orders", []string{"Pub"}, []string{"10.1.2.3"}, Allow}}, nil, Pub, Topic("orders"), "::ffff:10.1.2.3", true},
		"range":                          {[]Entry{{"Topic:orders", []string{"Pub"}, []string{"192.168.0.0/16", "10.0.0.0/8"}, Allow}}, nil, Pub, Topic("orders"), "10.9.9.9", true},
		"outside the range":              {[]Entry{{"Topic:orders", []string{"Pub"}, []string{"10.0.0.0/8"}, Allow}}, nil, Pub, Topic("orders"), "11.0.0.1", false},
		"namespace":                      {[]Entry{{"Namespace:acme", []string{"Pub"}, nil, Allow}}, nil, Pub, Topic("acme%orders"), "", true},
		"namespace of a group":           {[]Entry{{"Namespace:acme", []string{"Sub"}, nil, Allow}}, nil, Sub, Group("%RETRY%acme%g"), "", true},
		"another namespace":              {[]Entry{{"Namespace:acme", []string{"Pub"}, nil, Allow}}, nil, Pub, Topic("acme2%orders"), "", false},
		"namespace isn't a cluster":      {[]Entry{{"Namespace:*", []string{"All"}, nil, Allow}}, nil, Update, Cluster("acme%x"), "", false},
		"topic before its namespace":     {[]Entry{{"Namespace:acme", []string{"Pub"}, nil, Allow}, {"Topic:acme%o*", []string{"Pub"}, nil, Deny}}, nil, Pub, Topic("acme%orders"), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := with(t, root, alice)
			a := ACL{Subject: "User:alice", Policies: []Policy{{Entries: c.custom}, {Type: Default, Entries: c.second}}}
			if len(c.custom)+len(c.second) > 0 {
				if err := s.PutACL(Anybody, a); err != nil {
					t.Fatal(err)
				}
			}
			ip := home
			if c.ip != "" {
				ip = netip.MustParseAddr(c.ip)
			}
			err := s.Allow(Identity{User: "alice"}, ip, c.action, c.resource)
			if c.want != (err == nil) || err != nil && !errors.Is(err, ErrDenied) {
				t.Errorf("decision: %v", err)
			}
			if err := s.Allow(Identity{User: "root", Super: true}, ip, c.action, c.resource); err != nil {
				t.Errorf("a super user: %v", err)
			}
		})
	}
}

// Deny wins between two entries that are equally particular.
func TestDenyFirst(t *testing.T) {
	a := ACL{Subject: "User:alice", Policies: []Policy{{Entries: []Entry{
		{"Topic:orders", []string{"Pub"}, nil, Allow}, {"Topic:orders", []string{"Pub"}, nil, Deny},
	}}}}
	rules, err := a.compile()
	if err != nil || !rules[0].deny {
		t.Errorf("rules %+v, error %v", rules, err)
	}
}

func TestOffLetsEverythingThrough(t *testing.T) {
	var none *Store
	if none.Enabled() {
		t.Error("the nil store is on")
	}
	for _, s := range []*Store{none, {}} {
		if id, err := s.VerifyRemoting(nil, nil, 0); err != nil || id != Anybody {
			t.Errorf("remoting: %+v, %v", id, err)
		}
		if id, err := s.VerifyGRPC("", ""); err != nil || id != Anybody {
			t.Errorf("gRPC: %+v, %v", id, err)
		}
		if id, err := s.VerifyHTTP(httptest.NewRequest(http.MethodGet, "/", nil)); err != nil || id != Anybody {
			t.Errorf("HTTP: %+v, %v", id, err)
		}
		if err := s.Allow(Identity{}, home, All, Topic("orders")); err != nil {
			t.Error(err)
		}
	}
}

// Users and policies survive a restart; a password is neither in the state
// store nor in the log, and opens under its key only.
func TestStoredSealed(t *testing.T) {
	fs, key := vfs.NewMem(), NewKey()
	var log bytes.Buffer
	m, err := meta.Open("meta", fs)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{On: true, Key: key, Cluster: "c", Logger: slog.New(slog.NewTextHandler(&log, nil))}
	s, err := Open(m, c)
	if err != nil {
		t.Fatal(err)
	}
	secret := User{Name: "bob", Password: "correct-horse"}
	for _, err := range []error{
		s.CreateUser(Anybody, root), s.CreateUser(Anybody, secret),
		s.PutACL(Anybody, ACL{Subject: "user:bob", Policies: []Policy{{Entries: []Entry{{"topic:a", []string{"pub"}, nil, "allow"}}}}}),
		s.PutACL(Anybody, ACL{Subject: "User:bob", Policies: []Policy{{Type: Custom, Entries: []Entry{{"Topic:b", []string{"Sub"}, nil, Deny}}}}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth("bob", "wrong-guess")
	_, _ = s.VerifyHTTP(r)
	var dump bytes.Buffer
	if err := errors.Join(m.WriteText(&dump), m.Close()); err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"state": dump.String(), "log": log.String()} {
		if strings.Contains(text, "correct-horse") || strings.Contains(text, "wrong-guess") || !strings.Contains(text, "bob") {
			t.Errorf("the %s is %s", what, text)
		}
	}
	if m, err = meta.Open("meta", fs); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if s, err = Open(m, c); err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("bob", "correct-horse")
	if _, err := s.VerifyHTTP(r); err != nil {
		t.Error(err)
	}
	a, ok, err := s.ACL("User:bob")
	if err != nil || !ok || len(a.Policies) != 1 || len(a.Policies[0].Entries) != 2 || a.Policies[0].Entries[0].Resource != "Topic:a" || a.Policies[0].Entries[0].Actions[0] != "Pub" {
		t.Errorf("policies %+v, %v, %v", a, ok, err)
	}
	c.Key = NewKey()
	if _, err := Open(m, c); err == nil || !strings.Contains(err.Error(), "can't be opened") {
		t.Errorf("another key: %v", err)
	}
}

func TestUsersAndPoliciesChange(t *testing.T) {
	s := with(t, root, alice)
	plain := Identity{User: "alice"}
	for name, c := range map[string]struct {
		do   func() error
		want error
	}{
		"exists":                  {func() error { return s.CreateUser(Anybody, alice) }, ErrExists},
		"no password":             {func() error { return s.CreateUser(Anybody, User{Name: "x"}) }, ErrBad},
		"bad name":                {func() error { return s.CreateUser(Anybody, User{Name: "a:b", Password: "x"}) }, ErrBad},
		"bad type":                {func() error { return s.CreateUser(Anybody, User{Name: "x", Password: "x", Type: "King"}) }, ErrBad},
		"super by a plain one":    {func() error { return s.CreateUser(plain, User{Name: "x", Password: "x", Type: Super}) }, ErrDenied},
		"raise by a plain one":    {func() error { return s.UpdateUser(plain, User{Name: "alice", Type: Super}) }, ErrDenied},
		"change super by a plain": {func() error { return s.UpdateUser(plain, User{Name: "root", Password: "x"}) }, ErrDenied},
		"delete super by a plain": {func() error { return s.DeleteUser(plain, "root") }, ErrDenied},
		"last super deleted":      {func() error { return s.DeleteUser(Anybody, "root") }, ErrBad},
		"last super disabled":     {func() error { return s.UpdateUser(Anybody, User{Name: "root", Status: Disable}) }, ErrBad},
		"update of nobody":        {func() error { return s.UpdateUser(Anybody, User{Name: "eve"}) }, ErrNotFound},
		"policies of nobody": {func() error {
			return s.PutACL(Anybody, ACL{Subject: "User:eve", Policies: []Policy{{Entries: []Entry{{"*", []string{"All"}, nil, Allow}}}}})
		}, ErrNotFound},
		"no subject": {func() error { return s.PutACL(Anybody, ACL{Subject: "alice"}) }, ErrBad},
		"no entry":   {func() error { return s.PutACL(Anybody, ACL{Subject: "User:alice"}) }, ErrBad},
		"bad resource": {func() error {
			return s.PutACL(Anybody, ACL{Subject: "User:alice", Policies: []Policy{{Entries: []Entry{{"Thing:x", []string{"All"}, nil, Allow}}}}})
		}, ErrBad},
		"bad action": {func() error {
			return s.PutACL(Anybody, ACL{Subject: "User:alice", Policies: []Policy{{Entries: []Entry{{"*", []string{"Fly"}, nil, Allow}}}}})
		}, ErrBad},
		"bad source": {func() error {
			return s.PutACL(Anybody, ACL{Subject: "User:alice", Policies: []Policy{{Entries: []Entry{{"*", []string{"All"}, []string{"10.0.0.0/99"}, Allow}}}}})
		}, ErrBad},
		"bad decision": {func() error {
			return s.PutACL(Anybody, ACL{Subject: "User:alice", Policies: []Policy{{Entries: []Entry{{"*", []string{"All"}, nil, ""}}}}})
		}, ErrBad},
		"nothing to delete": {func() error { return s.DeleteACL(Anybody, "User:alice", "", "Topic:x") }, ErrNotFound},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	put := ACL{Subject: "User:alice", Policies: []Policy{{Entries: []Entry{{"Topic:a", []string{"Pub"}, nil, Allow}, {"Group:g", []string{"Sub"}, nil, Allow}}}}}
	if err := s.PutACL(Anybody, put); err != nil {
		t.Fatal(err)
	}
	if got := s.ACLs("alice", "Group"); len(got) != 1 || len(got[0].Policies[0].Entries) != 1 {
		t.Errorf("filtered policies %+v", got)
	}
	if err := s.Allow(plain, home, Sub, Topic("a"), Group("g")); err == nil {
		t.Error("one of two resources is enough")
	}
	if err := s.Allow(plain, home, Pub|Sub, Topic("a"), Group("g")); err != nil {
		t.Error(err)
	}
	if err := s.DeleteACL(Anybody, "User:alice", "", "Topic:a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Allow(plain, home, Pub, Topic("a")); err == nil {
		t.Error("a removed entry still counts")
	}
	if err := s.DeleteUser(Anybody, "alice"); err != nil {
		t.Fatal(err)
	}
	if len(s.ACLs("", "")) != 0 || len(s.Users("")) != 1 || s.Allow(plain, home, Sub, Group("g")) == nil {
		t.Error("a deleted user still counts")
	}
}

func TestRefusalsAreCountedByProtocol(t *testing.T) {
	s := with(t, alice)
	signed := map[string]string{"a": "producers", "b": "orders", "AccessKey": "alice"}
	signed["Signature"] = SignRemoting(fieldsOf(signed), nil, alice.Password)
	id, err := s.VerifyRemoting(fieldsOf(signed), nil, 317)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Allow(id, netip.Addr{}, Delete, Topic("others"))
	_, _ = s.VerifyRemoting(fieldsOf(map[string]string{"a": "producers"}), nil, 317)
	_, _ = s.VerifyGRPC("", "")
	_, _ = s.VerifyGRPC("", "")
	_, _ = s.VerifyHTTP(httptest.NewRequest(http.MethodGet, "/", nil))
	want := []Refusals{{Protocol: "none"}, {"remoting", 1, 1}, {"grpc", 2, 0}, {"http", 1, 0}}
	if got := s.Refusals(); !slices.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

func TestVerifyCostsNoAllocation(t *testing.T) {
	s := with(t, alice)
	fields := [][2]string{{"a", "producers"}, {"b", "orders"}, {"AccessKey", "alice"}, {"Signature", "f1u4ytia0fdGxX/XGjoKFIobgXM="}}
	seq := func(yield func(string, string) bool) {
		for i := range fields {
			if !yield(fields[i][0], fields[i][1]) {
				return
			}
		}
	}
	body := []byte("hello")
	n := testing.AllocsPerRun(200, func() {
		if _, err := s.VerifyRemoting(seq, body, 317); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 && !raceDetector {
		t.Errorf("%v allocations a request", n)
	}
}

func FuzzVerify(f *testing.F) {
	s := with(f, alice)
	f.Add("alice", "c2ln", "MQv2-HMAC-SHA1 Credential=alice, Signature=00", "20260131T093000Z")
	f.Fuzz(func(t *testing.T, user, signature, header, date string) {
		if id, err := s.VerifyRemoting(fieldsOf(map[string]string{"AccessKey": user, "Signature": signature}), nil, 1); err == nil {
			t.Errorf("remoting lets %+v in", id)
		}
		if id, err := s.VerifyGRPC(header, date); err == nil {
			t.Errorf("gRPC lets %+v in", id)
		}
		r := httptest.NewRequest(http.MethodGet, "/x", nil)
		r.Header["Authorization"] = []string{header}
		if id, err := s.VerifyHTTP(r); err == nil {
			t.Errorf("HTTP lets %+v in", id)
		}
	})
}
