package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"varve/internal/objstore"
	"varve/internal/objstore/objtest"
	"varve/internal/objstore/s3"
)

// server starts a fake S3 with one bucket on loopback.
func server(t *testing.T, wrap func(http.Handler) http.Handler) s3.Config {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("archive"); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(backend).Server()
	h := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The fake looks for a header that an empty object's put lacks.
		if r.Header.Get("Content-Length") == "" {
			r.Header.Set("Content-Length", "0")
		}
		fake.ServeHTTP(w, r)
	}))
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return s3.Config{
		Endpoint: strings.TrimPrefix(srv.URL, "http://"), Insecure: true, PathStyle: true,
		Bucket: "archive", AccessKey: "test-user", SecretKey: "test-secret",
	}
}

func open(t *testing.T, c s3.Config) *s3.Bucket {
	t.Helper()
	b, err := s3.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	for _, prefix := range []string{"", "some/prefix"} {
		t.Run("prefix="+prefix, func(t *testing.T) {
			objtest.Run(t, func(t *testing.T) objstore.Bucket {
				c := server(t, nil)
				c.Prefix = prefix
				return open(t, c)
			})
		})
	}
}

func TestURL(t *testing.T) {
	c := server(t, nil)
	if u := open(t, c).URL(); u != "s3://archive" {
		t.Error(u)
	}
	c.Prefix = "a/b"
	if u := open(t, c).URL(); u != "s3://archive/a/b" {
		t.Error(u)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := s3.Config{Endpoint: "localhost:1", Bucket: "abc", AccessKey: "a", SecretKey: "b"}
	for name, change := range map[string]func(*s3.Config){
		"scheme":   func(c *s3.Config) { c.Endpoint = "http://localhost" },
		"endpoint": func(c *s3.Config) { c.Endpoint = "" },
		"bucket":   func(c *s3.Config) { c.Bucket = "ab" },
		"keys":     func(c *s3.Config) { c.SecretKey = "" },
		"prefix":   func(c *s3.Config) { c.Prefix = "/a" },
	} {
		c := good
		change(&c)
		if _, err := s3.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestErrorsSayWhatAPersonCanDo: each answer of a store becomes the sentinel
// that callers act on.
func TestErrorsAreClassified(t *testing.T) {
	for code, c := range map[string]struct {
		status int
		want   error
	}{
		"NoSuchBucket":               {404, objstore.ErrNoBucket},
		"NoSuchKey":                  {404, objstore.ErrNotFound},
		"AccessDenied":               {403, objstore.ErrDenied},
		"SignatureDoesNotMatch":      {403, objstore.ErrDenied},
		"PreconditionFailed":         {412, objstore.ErrExists},
		"ConditionalRequestConflict": {409, objstore.ErrExists},
		"XMinioStorageFull":          {507, objstore.ErrFull},
	} {
		cfg := server(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(c.status)
				fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>no</Message></Error>`, code)
			})
		})
		b := open(t, cfg)
		if err := b.Put(t.Context(), "x", strings.NewReader("x"), 1, objstore.IfAbsent); !errors.Is(err, c.want) {
			t.Errorf("put, %s: %v", code, err)
		}
		if err := b.ReadAt(t.Context(), "x", make([]byte, 1), 0); !errors.Is(err, c.want) {
			t.Errorf("read, %s: %v", code, err)
		}
	}
}

// TestIgnoredConditionIsFound: a store that overwrites in spite of the
// condition must not be used.
func TestIgnoredConditionIsFound(t *testing.T) {
	b := open(t, server(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-None-Match")
			h.ServeHTTP(w, r)
		})
	}))
	if err := objstore.Probe(t.Context(), b); !errors.Is(err, objstore.ErrUnsafe) {
		t.Errorf("probe: %v", err)
	}
}

// TestPutIsSentOnce: a repeated create-only put would take its own object for
// somebody else's.
func TestPutIsSentOnce(t *testing.T) {
	puts := 0
	b := open(t, server(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPut {
				h.ServeHTTP(w, r)
				return
			}
			puts++
			h.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
	}))
	err := b.Put(t.Context(), "x", strings.NewReader("x"), 1, objstore.IfAbsent)
	if err == nil || errors.Is(err, objstore.ErrExists) || puts != 1 {
		t.Errorf("%d puts, %v", puts, err)
	}
}

// TestSilentStore: each request to a store that takes it and says nothing, or
// stops in the middle of an answer, fails in time; that is no end of the
// caller's context.
func TestSilentStore(t *testing.T) {
	silent := make(chan struct{})
	wait := func(r *http.Request) {
		select {
		case <-silent:
		case <-r.Context().Done():
		}
	}
	t.Cleanup(func() { close(silent) })
	for name, h := range map[string]http.HandlerFunc{
		"no word": func(_ http.ResponseWriter, r *http.Request) { wait(r) },
		"half a word": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				wait(r)
			}
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			fmt.Fprint(w, "<?xml")
			_ = http.NewResponseController(w).Flush()
			wait(r)
		},
	} {
		cfg := server(t, func(http.Handler) http.Handler { return h })
		cfg.Timeout = 50 * time.Millisecond
		b := open(t, cfg)
		for what, ask := range map[string]func() error{
			"head": func() error { _, err := b.Head(t.Context(), "x"); return err },
			"read": func() error { return b.ReadAt(t.Context(), "x", make([]byte, 100), 0) },
			"get": func() error {
				r, err := b.Get(t.Context(), "x")
				if err == nil {
					defer r.Close()
					_, err = io.ReadAll(r)
				}
				return err
			},
			"list": func() error {
				for _, err := range b.List(t.Context(), "x") {
					return err
				}
				return nil
			},
		} {
			err := ask()
			if !errors.Is(err, objstore.ErrNoAnswer) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

// TestSlowReader: how long a reader takes with what the store has given is not
// the store's fault.
func TestSlowReader(t *testing.T) {
	cfg := server(t, nil)
	cfg.Timeout = 300 * time.Millisecond
	b := open(t, cfg)
	for _, name := range []string{"x/1", "x/2"} {
		if err := b.Put(t.Context(), name, strings.NewReader("some"), 4, objstore.IfAbsent); err != nil {
			t.Fatal(err)
		}
	}
	slow := func() { time.Sleep(cfg.Timeout * 3 / 2) }
	r, err := b.Get(t.Context(), "x/1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	slow()
	if data, err := io.ReadAll(r); err != nil || string(data) != "some" {
		t.Errorf("%q, %v", data, err)
	}
	n := 0
	for _, err := range b.List(t.Context(), "x/") {
		if n++; err != nil {
			t.Fatal(err)
		}
		slow()
	}
	if n != 2 {
		t.Errorf("%d objects", n)
	}
}
