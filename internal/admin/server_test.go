package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"varve/internal/retention"
)

// otherTopics is an embedded Topics whose name doesn't hide its method.
type otherTopics = Topics

// fake is a backend that remembers what it was asked.
type fake struct {
	otherTopics
	Messages
	asked any
	err   error
	rows  int
}

func (f *fake) CreateTopic(_ context.Context, s TopicSpec) (Topic, error) {
	f.asked = s
	return Topic{Name: s.Name, Queues: s.Queues}, f.err
}

func (f *fake) Topic(_ context.Context, name string) (TopicDetail, error) {
	f.asked = name
	return TopicDetail{Topic: Topic{Name: name}}, f.err
}

func (f *fake) ReadMessages(_ context.Context, s Stretch) (Page, error) {
	f.asked = s
	return Page{Messages: []Message{{Topic: s.Topic}}, Next: 7}, f.err
}

func (f *fake) Query(_ context.Context, r SQLRequest, columns func([]Column) error, row func([]any) error) (SQLEnd, error) {
	f.asked = r
	if f.rows == 0 && f.err != nil {
		return SQLEnd{}, f.err
	}
	if err := columns([]Column{{"a", "BIGINT"}, {"b", "VARCHAR"}}); err != nil {
		return SQLEnd{}, err
	}
	for i := range f.rows {
		if err := row([]any{i, "<x>"}); err != nil {
			return SQLEnd{}, err
		}
	}
	return SQLEnd{Rows: int64(f.rows)}, f.err
}

// stream is the replay side of a backend.
type stream struct {
	Replay
	lines []string
	err   error
}

func (s *stream) StreamReplay(_ context.Context, _ ReplaySpec, w io.Writer) error {
	for _, l := range s.lines {
		if _, err := io.WriteString(w, l+"\n"); err != nil {
			return err
		}
	}
	return s.err
}

// kept is the retention side of a backend.
type kept struct {
	Retention
	rule retention.Rule
}

func (k *kept) SetRule(_ context.Context, r retention.Rule) error {
	k.rule = r
	return nil
}

func start(t *testing.T, b Backend) (*Client, string) {
	t.Helper()
	if b.Status == nil {
		b.Status = func(context.Context) Status { return Status{Broker: "b"} }
	}
	srv := httptest.NewServer(Handler(b, slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	return NewClient(srv.URL), srv.URL
}

func codeOf(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Code
}

func TestRequestsReachTheBackend(t *testing.T) {
	f := &fake{}
	c, _ := start(t, Backend{Topics: f, Messages: f})
	ctx := t.Context()
	if _, err := c.CreateTopic(ctx, TopicSpec{Name: "t", Queues: 3}); err != nil || f.asked != (TopicSpec{Name: "t", Queues: 3}) {
		t.Errorf("create: %v, asked %v", err, f.asked)
	}
	if d, err := c.Topic(ctx, "%RETRY%a/b"); err != nil || d.Name != "%RETRY%a/b" {
		t.Errorf("a name that needs escaping: %v, %q", err, d.Name)
	}
	from := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	want := Stretch{Topic: "t", Queue: 2, Offset: -1, From: from, Tags: "a || b", Max: 5}
	if p, err := c.ReadMessages(ctx, want); err != nil || p.Next != 7 || f.asked != want {
		t.Errorf("read: %v, asked %+v", err, f.asked)
	}
	k := &kept{}
	c, _ = start(t, Backend{Retention: k})
	rule := retention.Rule{Name: "a b", Topic: "x*", Archive: &retention.ArchiveBounds{Age: retention.Duration(36 * time.Hour), Bytes: 5 << 30}}
	if err := c.SetRule(ctx, rule); err != nil || k.rule.Name != rule.Name || *k.rule.Archive != *rule.Archive {
		t.Errorf("rule: %v, got %+v", err, k.rule)
	}
}

func TestErrorsKeepTheirPlace(t *testing.T) {
	f := &fake{}
	c, _ := start(t, Backend{Topics: f})
	for err, want := range map[error]string{
		NotFound("no %s", "t"): CodeNotFound, BadRequest("x"): CodeBadRequest, Conflict("x"): CodeConflict,
		OverLimit("x"): CodeLimit, Unavailable("x"): CodeUnavailable, errors.New("x"): CodeInternal,
		context.DeadlineExceeded: CodeLimit,
	} {
		f.err = err
		_, got := c.Topic(t.Context(), "t")
		if codeOf(got) != want {
			t.Errorf("%v arrives as %v", err, got)
		}
	}
	if _, err := c.Groups(t.Context()); codeOf(err) != CodeRoleMissing {
		t.Errorf("a missing role: %v", err)
	}
	if _, err := NewClient("127.0.0.1:1").Topics(t.Context()); !errors.Is(err, ErrNoServer) {
		t.Errorf("no server: %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	f := &fake{}
	_, url := start(t, Backend{Topics: f, Messages: f, SQL: f})
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"no route", "GET", "/api/v1/nothing", "", 404, "no route GET"},
		{"wrong method", "DELETE", "/api/v1/status", "", 404, "no route DELETE"},
		{"not JSON", "POST", "/api/v1/topics", "{", 400, "request body"},
		{"empty", "POST", "/api/v1/topics", "", 400, "empty"},
		{"unknown field", "POST", "/api/v1/topics", `{"nam":"x"}`, 400, "nam"},
		{"two values", "POST", "/api/v1/topics", `{"name":"x"} {}`, 400, "more than one"},
		{"no name", "POST", "/api/v1/topics", `{}`, 400, "name"},
		{"too large", "POST", "/api/v1/topics", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, "over"},
		{"not a number", "GET", "/api/v1/topics/t/messages?offset=x", "", 400, "offset"},
		{"too many", "GET", "/api/v1/topics/t/messages?max=100000", "", 400, "max"},
		{"not a time", "GET", "/api/v1/topics/t/messages?from=soon", "", 400, "soon"},
		{"no key", "GET", "/api/v1/messages?topic=t", "", 400, "key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequest(c.method, url+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || !strings.Contains(string(text), c.want) {
				t.Errorf("%d %s", resp.StatusCode, text)
			}
			var e struct{ Error *Error }
			if c.want != "" && (json.Unmarshal(text, &e) != nil || e.Error == nil || e.Error.Code == "") {
				t.Errorf("not the form of an error: %s", text)
			}
		})
	}
}

func TestOtherOriginsMayOnlyLook(t *testing.T) {
	f := &fake{}
	_, url := start(t, Backend{Topics: f})
	for _, c := range []struct {
		method, header, value string
		want                  int
	}{
		{"POST", "Origin", "https://example.com", 403},
		{"POST", "Origin", "null", 403},
		{"POST", "Sec-Fetch-Site", "cross-site", 403},
		{"DELETE", "Sec-Fetch-Site", "same-site", 403},
		{"POST", "Origin", url, 200},
		{"POST", "Sec-Fetch-Site", "none", 200},
		{"GET", "Origin", "https://example.com", 405},
	} {
		path := "/api/v1/topics"
		if c.method == "GET" {
			path += "/x/none"
		}
		if c.method == "DELETE" {
			path += "/x"
		}
		req, err := http.NewRequest(c.method, url+path, strings.NewReader(`{"name":"t","queues":1}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(c.header, c.value)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if c.method == "GET" {
			if resp.StatusCode == 403 {
				t.Errorf("a look was refused")
			}
			continue
		}
		if resp.StatusCode != c.want {
			t.Errorf("%s with %s: %s gives %d, want %d", c.method, c.header, c.value, resp.StatusCode, c.want)
		}
	}
}

func TestSQLStream(t *testing.T) {
	f := &fake{rows: 3}
	c, _ := start(t, Backend{SQL: f})
	var got []string
	ask := func() (SQLEnd, error) {
		got = nil
		return c.Query(t.Context(), SQLRequest{SQL: "select"}, func(cols []Column) error {
			got = append(got, cols[1].Name)
			return nil
		}, func(row []any) error {
			got = append(got, row[0].(json.Number).String()+row[1].(string))
			return nil
		})
	}
	if end, err := ask(); err != nil || end.Rows != 3 || strings.Join(got, " ") != "b 0<x> 1<x> 2<x>" {
		t.Errorf("%v %+v %q", err, end, got)
	}
	f.err = OverLimit("too long")
	if _, err := ask(); codeOf(err) != CodeLimit || len(got) != 4 {
		t.Errorf("an error after rows: %v after %q", err, got)
	}
	f.rows = 0
	if _, err := ask(); codeOf(err) != CodeLimit || len(got) != 0 {
		t.Errorf("an error before rows: %v", err)
	}
}

func TestReplayStreamIsCutNotEnded(t *testing.T) {
	s := &stream{lines: []string{`{"a":1}`}}
	c, _ := start(t, Backend{Replay: s})
	var out strings.Builder
	if err := c.StreamReplay(t.Context(), ReplaySpec{Topic: "t"}, &out); err != nil || out.String() != "{\"a\":1}\n" {
		t.Errorf("%v %q", err, out.String())
	}
	s.err = errors.New("bucket gone")
	if err := c.StreamReplay(t.Context(), ReplaySpec{Topic: "t"}, io.Discard); err == nil || !strings.Contains(err.Error(), "cut off: bucket gone") {
		t.Errorf("an error after the first line: %v", err)
	}
	out.Reset()
	s.lines = []string{`{"a":"` + strings.Repeat("x", 200<<10) + `"}`, `{"b":2}`}
	if err := c.StreamReplay(t.Context(), ReplaySpec{Topic: "t"}, &out); codeOf(err) != CodeInternal || out.String() != strings.Join(s.lines, "\n")+"\n" {
		t.Errorf("messages before an error: %d bytes, %v", out.Len(), err)
	}
	at := int64(3)
	for _, spec := range []ReplaySpec{{Topic: "t", FromOffset: &at}, {Topic: "t", ToOffset: &at, Queues: []int32{1, 2}}} {
		if err := c.StreamReplay(t.Context(), spec, io.Discard); codeOf(err) != CodeBadRequest {
			t.Errorf("offsets without one queue: %v", err)
		}
		spec.Target = "u"
		if _, err := c.StartReplay(t.Context(), spec); codeOf(err) != CodeBadRequest {
			t.Errorf("a job with offsets without one queue: %v", err)
		}
	}
	s.lines, s.err = nil, NotFound("no topic")
	if err := c.StreamReplay(t.Context(), ReplaySpec{Topic: "t"}, io.Discard); codeOf(err) != CodeNotFound {
		t.Errorf("an error before any line: %v", err)
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"2026-01-31T09:30:00Z": time.Date(2026, 1, 31, 9, 30, 0, 0, time.UTC),
		"1700000000000":        time.UnixMilli(1700000000000),
		"15m":                  now.Add(-15 * time.Minute),
		"-15m":                 now.Add(-15 * time.Minute),
		"now":                  now,
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
	} {
		if got, err := ParseTime(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v (%v), want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "soon", "2026-13-01"} {
		if got, err := ParseTime(in, now); err == nil {
			t.Errorf("%q is %v", in, got)
		}
	}
}
