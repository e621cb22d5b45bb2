package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/archive"
	"varve/internal/auth"
	"varve/internal/meta"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

// world is a catalog over a bucket, and the archive as another process has it.
type world struct {
	*httptest.Server
	bucket objstore.Bucket
	other  *archive.Archive
}

func openArchive(t testing.TB, b objstore.Bucket) *archive.Archive {
	t.Helper()
	a, err := archive.Open(t.Context(), b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func start(t testing.TB, users *auth.Store, topics ...string) *world {
	t.Helper()
	b := mem.New()
	w := &world{bucket: b, other: openArchive(t, b)}
	for _, topic := range topics {
		if _, err := w.other.CreateTable(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
	}
	w.Server = httptest.NewServer(Handler(Config{
		Archive: openArchive(t, b), Auth: users, Properties: map[string]string{"s3.endpoint": "http://127.0.0.1:9000"},
	}))
	t.Cleanup(w.Close)
	return w
}

// answer is a response as it came.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask makes a request; auth is an Authorization header, body a form.
func (w *world) ask(t testing.TB, method, path, authorization, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.URL+Prefix+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, strings.TrimSpace(string(got))}
}

func (w *world) get(t testing.TB, path string) answer {
	t.Helper()
	return w.ask(t, "GET", path, "", "")
}

func TestWhatEnginesAskFor(t *testing.T) {
	w := start(t, nil, "orders", "acme%orders", "%DLQ%acme%billing", "default%x")
	for _, c := range []struct {
		method, path string
		status       int
		want         string // the body, or a part of it where it begins with "…"
	}{
		{"GET", "/v1/config", 200, `…"defaults":{"s3.endpoint":"http://127.0.0.1:9000"},"overrides":{},"endpoints":["GET /v1/{prefix}/namespaces",`},
		{"GET", "/v1/namespaces", 200, `{"namespaces":[["acme"],["default"]]}`},
		{"GET", "/v1/namespaces?parent=acme", 200, `{"namespaces":[]}`},
		{"GET", "/v1/namespaces?parent=nobody", 404, `…"type":"NoSuchNamespaceException"`},
		{"GET", "/v1/namespaces/acme", 200, `{"namespace":["acme"],"properties":{}}`},
		{"HEAD", "/v1/namespaces/acme", 200, ``},
		{"HEAD", "/v1/namespaces/nobody", 404, ``},
		{"GET", "/v1/namespaces/a%1Fb", 404, `…namespace a.b doesn't exist`},
		{"GET", "/v1/namespaces/acme/tables", 200, `{"identifiers":[{"namespace":["acme"],"name":"%DLQ%billing"},{"namespace":["acme"],"name":"orders"}]}`},
		{"GET", "/v1/namespaces/default/tables", 200, `{"identifiers":[{"namespace":["default"],"name":"default%x"},{"namespace":["default"],"name":"orders"}]}`},
		{"GET", "/v1/namespaces/acme/tables/%25DLQ%25billing", 200, `…"varve.topic":"%DLQ%acme%billing"`},
		{"GET", "/v1/namespaces/default/tables/default%25x", 200, `…"varve.topic":"default%x"`},
		{"HEAD", "/v1/namespaces/default/tables/orders", 200, ``},
		{"GET", "/v1/namespaces/default/tables/nothing", 404, `…"type":"NoSuchTableException","code":404}`},
		{"GET", "/v1/namespaces/default/views", 200, `{"identifiers":[]}`},
		{"GET", "/v1/namespaces/default/views/orders", 404, `…"type":"NoSuchViewException"`},
		{"POST", "/v1/namespaces/default/tables/orders/metrics", 204, ``},
		{"POST", "/v1/namespaces/default/tables/orders", 403, `…written by Varve alone; engines may read them","type":"ForbiddenException"`},
		{"POST", "/v1/namespaces", 403, `…"type":"ForbiddenException"`},
		{"DELETE", "/v1/namespaces/default/tables/orders", 403, `…"type":"ForbiddenException"`},
		{"POST", "/v1/tables/rename", 403, `…"type":"ForbiddenException"`},
		{"GET", "/v2/all", 404, `…no route GET /v2/all`},
	} {
		got := w.ask(t, c.method, c.path, "", "")
		part, isPart := strings.CutPrefix(c.want, "…")
		if got.status != c.status || isPart && !strings.Contains(got.body, part) || !isPart && got.body != c.want {
			t.Errorf("%s %s: %d %s\nwant %d %s", c.method, c.path, got.status, got.body, c.status, c.want)
		}
	}
}

func TestATableIsAsTheBucketHasIt(t *testing.T) {
	w := start(t, nil, "orders")
	const path = "/v1/namespaces/default/tables/orders"
	type loaded struct {
		Location string          `json:"metadata-location"`
		Metadata json.RawMessage `json:"metadata"`
	}
	load := func() (l loaded, tag string) {
		t.Helper()
		got := w.get(t, path)
		if err := json.Unmarshal([]byte(got.body), &l); err != nil || got.status != 200 {
			t.Fatalf("%d %s: %v", got.status, got.body, err)
		}
		r, err := w.bucket.Get(t.Context(), strings.TrimPrefix(l.Location, w.bucket.URL()+"/"))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if want, err := io.ReadAll(r); err != nil || string(want) != string(l.Metadata) {
			t.Errorf("the answer's metadata is not that of %s: %v\n%s\n%s", l.Location, err, l.Metadata, want)
		}
		return l, got.header.Get("ETag")
	}
	first, tag := load()
	r, err := http.NewRequestWithContext(t.Context(), "GET", w.URL+Prefix+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("If-None-Match", tag)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _ = res.Body.Close(); res.StatusCode != http.StatusNotModified {
		t.Errorf("with the tag of the newest: %s", res.Status)
	}

	// Another process commits.
	table, err := w.other.Table(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Fence(t.Context(), "a", 7); err != nil {
		t.Fatal(err)
	}
	second, newer := load()
	if second.Location == first.Location || newer == tag {
		t.Errorf("after another process's commit: still %s, tag %s", second.Location, newer)
	}
	if err := w.other.DropTable(t.Context(), "orders", "test"); err != nil {
		t.Fatal(err)
	}
	if got := w.get(t, path); got.status != 404 {
		t.Errorf("after the topic was deleted: %d %s", got.status, got.body)
	}
}

func TestListsComeInPages(t *testing.T) {
	var topics []string
	for i := range 5 {
		topics = append(topics, fmt.Sprintf("t%d", i))
	}
	w := start(t, nil, topics...)
	var names []string
	token, pages := "", 0
	for {
		got := w.get(t, "/v1/namespaces/default/tables?pageSize=2&pageToken="+url.QueryEscape(token))
		var l struct {
			Identifiers []struct{ Name string } `json:"identifiers"`
			Next        string                  `json:"next-page-token"`
		}
		if err := json.Unmarshal([]byte(got.body), &l); err != nil {
			t.Fatalf("%s: %v", got.body, err)
		}
		for _, id := range l.Identifiers {
			names = append(names, id.Name)
		}
		pages++
		if token = l.Next; token == "" {
			break
		}
	}
	if strings.Join(names, " ") != strings.Join(topics, " ") || pages != 3 {
		t.Errorf("%v in %d pages", names, pages)
	}
	for _, bad := range []string{"pageSize=0&pageToken=", "pageSize=x&pageToken=", "pageToken=!"} {
		if got := w.get(t, "/v1/namespaces?"+bad); got.status != 400 {
			t.Errorf("%s: %d %s", bad, got.status, got.body)
		}
	}
}

// guarded is a store of users that is on: a super user, and one who may read
// one topic.
func guarded(t testing.TB) *auth.Store {
	t.Helper()
	m, err := meta.Open("meta", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	s, err := auth.Open(m, auth.Config{On: true, Key: auth.NewKey(), Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []auth.User{{Name: "root", Password: "r00t", Type: auth.Super}, {Name: "ann", Password: "pw"}} {
		if err := s.CreateUser(auth.Anybody, u); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestWhoMayReadSeesTheTable(t *testing.T) {
	users := guarded(t)
	if err := users.PutACL(auth.Anybody, auth.ACL{Subject: auth.Subject("ann"), Policies: []auth.Policy{
		{Entries: []auth.Entry{{Resource: "Topic:orders", Actions: []string{"Sub"}, Decision: auth.Allow}}},
	}}); err != nil {
		t.Fatal(err)
	}
	w := start(t, users, "orders", "secrets")
	form := url.Values{"grant_type": {grantCredentials}, "client_id": {"ann"}, "client_secret": {"pw"}, "scope": {"catalog"}}
	token := func(form url.Values) (access string, got answer) {
		t.Helper()
		got = w.ask(t, "POST", "/v1/oauth/tokens", "", form.Encode())
		var o struct {
			Access string `json:"access_token"`
		}
		if err := json.Unmarshal([]byte(got.body), &o); err != nil {
			t.Fatalf("%s: %v", got.body, err)
		}
		return o.Access, got
	}
	access, got := token(form)
	if got.status != 200 || access == "" || !strings.Contains(got.body, `"token_type":"bearer"`) {
		t.Fatalf("%d %s", got.status, got.body)
	}
	again, got := token(url.Values{"grant_type": {grantExchange}, "subject_token": {access}})
	if got.status != 200 || again == "" {
		t.Errorf("a token for a token: %d %s", got.status, got.body)
	}
	for _, a := range []string{"Bearer " + access, "Bearer " + again, "Basic YW5uOnB3"} {
		if got := w.ask(t, "GET", "/v1/namespaces/default/tables", a, ""); got.body != `{"identifiers":[{"namespace":["default"],"name":"orders"}]}` {
			t.Errorf("%s: %d %s", a, got.status, got.body)
		}
		if got := w.ask(t, "GET", "/v1/namespaces/default/tables/orders", a, ""); got.status != 200 {
			t.Errorf("%s: %d %s", a, got.status, got.body)
		}
		if got := w.ask(t, "GET", "/v1/namespaces/default/tables/secrets", a, ""); got.status != 403 || !strings.Contains(got.body, "ForbiddenException") {
			t.Errorf("%s: %d %s", a, got.status, got.body)
		}
	}
	if got := w.ask(t, "GET", "/v1/namespaces/default%1Forders/tables/snapshots", "Bearer "+access, ""); got.status != 404 {
		t.Errorf("a metadata table is asked for as a table: %d %s", got.status, got.body)
	}
	for _, a := range []string{"", "Bearer x.y.z", "Basic YW5uOm5v"} {
		if got := w.ask(t, "GET", "/v1/config", a, ""); got.status != 401 || !strings.Contains(got.body, "NotAuthorizedException") {
			t.Errorf("%q: %d %s", a, got.status, got.body)
		}
	}
	form.Set("client_secret", "no")
	if _, got := token(form); got.status != 401 || !strings.Contains(got.body, `"error":"invalid_client"`) {
		t.Errorf("a wrong password: %d %s", got.status, got.body)
	}
	form.Set("grant_type", "password")
	if _, got := token(form); got.status != 400 || !strings.Contains(got.body, `"error":"unsupported_grant_type"`) {
		t.Errorf("another grant: %d %s", got.status, got.body)
	}
}

// TestEnginesMayLease what they are about to read, by a header.
func TestEnginesMayLease(t *testing.T) {
	w := start(t, nil, "orders")
	var asked []LeaseRequest
	var answer error
	srv := httptest.NewServer(Handler(Config{Archive: openArchive(t, w.bucket), Lease: func(_ context.Context, r LeaseRequest) error {
		asked = append(asked, r)
		return answer
	}}))
	defer srv.Close()
	load := func(url, lease string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", url+Prefix+"/v1/namespaces/default/tables/orders", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if lease != "" {
			r.Header.Set("X-Varve-Lease", lease)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	if code, body := load(srv.URL, "report"); code != 200 || len(asked) != 0 {
		t.Errorf("of a table without a snapshot: %d %s, %+v", code, body, asked)
	}
	tbl, err := w.other.Table(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	q := mq.Queue{Broker: "b", Topic: "orders"}
	var buf bytes.Buffer
	fw := archive.NewFileWriter(&buf, q, archive.FileOptions{Epoch: 1})
	if err := fw.Add(mq.AppendRecord(nil, &mq.Message{Topic: "orders", StoreTimeMillis: 1000, Body: []byte("x")})); err != nil {
		t.Fatal(err)
	}
	f, err := fw.Close()
	if err != nil {
		t.Fatal(err)
	}
	f.Name = archive.FileName(q, tbl.Root(), 0, 1, 1)
	if err := w.bucket.Put(t.Context(), f.Name, &buf, f.Bytes, objstore.IfAbsent); err != nil {
		t.Fatal(err)
	}
	if _, err := tbl.Append(t.Context(), archive.Commit{ID: "1", Broker: "b", Epoch: 1, Files: []archive.DataFile{f}}); err != nil {
		t.Fatal(err)
	}
	snap := tbl.Snapshot().ID
	for lease, want := range map[string]LeaseRequest{
		"report":         {Name: "report", Topic: "orders", Snapshot: snap},
		"report; ttl=2h": {Name: "report", Topic: "orders", Snapshot: snap, TTL: 2 * time.Hour},
	} {
		asked = nil
		if code, body := load(srv.URL, lease); code != 200 || len(asked) != 1 || asked[0] != want {
			t.Errorf("%s: %d %.100s, %+v", lease, code, body, asked)
		}
	}
	asked = nil
	if code, _ := load(srv.URL, ""); code != 200 || len(asked) != 0 {
		t.Errorf("without the header: %d, %+v", code, asked)
	}
	for _, lease := range []string{"report;2h", "report;ttl=x", "report;ttl=-1h"} {
		if code, body := load(srv.URL, lease); code != 400 || !strings.Contains(body, "X-Varve-Lease") || len(asked) != 0 {
			t.Errorf("%s: %d %s", lease, code, body)
		}
	}
	answer = fmt.Errorf("lease report: %w", ErrOthersLease)
	if code, body := load(srv.URL, "report"); code != 403 || !strings.Contains(body, "another user") {
		t.Errorf("another's: %d %s", code, body)
	}
	if code, body := load(w.URL, "report"); code != 400 || !strings.Contains(body, "no leases") {
		t.Errorf("where nobody keeps leases: %d %s", code, body)
	}
}
