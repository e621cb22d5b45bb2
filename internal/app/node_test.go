package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"varve/internal/admin"
	"varve/internal/config"
	wire "varve/internal/remoting"
	"varve/query/worker"
)

func TestMain(m *testing.M) {
	// A query worker is this program again.
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		os.Exit(worker.Main(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// settings are a whole node on free ports.
func settings(t *testing.T) *config.Config {
	c := config.Default()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	for _, a := range []*string{&c.Route.Listen, &c.Broker.Listen, &c.GRPC.Listen, &c.MQHTTP.Listen, &c.History.Listen, &c.HTTP.Listen} {
		*a = "127.0.0.1:0"
	}
	c.Hot.MinFree, c.Hot.Segment = 16<<20, 8<<20
	return &c
}

// run opens and runs a node; stop ends it and reports how it ended.
func run(t *testing.T, c *config.Config) (n *Node, api *admin.Client, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	n, err := Open(ctx, c, Options{Version: "test"})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() { _ = stop() })
	return n, admin.NewClient(n.Addr("http")), stop
}

func send(t *testing.T, api *admin.Client, topic string, from, to int) {
	t.Helper()
	queue := int32(0)
	for i := from; i < to; i++ {
		m := admin.Outgoing{Topic: topic, Queue: &queue, Tag: "t", Keys: []string{fmt.Sprint("k-", i)}, Body: fmt.Sprint("body ", i)}
		if _, err := api.SendMessage(t.Context(), m); err != nil {
			t.Fatalf("send %d: %v", i, err)
		}
	}
}

// readAll reads queue 0 of a topic and wants the bodies of [from, to).
func readAll(t *testing.T, api *admin.Client, topic string, from, to int) {
	t.Helper()
	at := int64(from)
	for i := from; i < to; {
		p, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: topic, Offset: at, Max: 1000})
		if err != nil {
			t.Fatalf("read %s at %d: %v", topic, at, err)
		}
		if len(p.Messages) == 0 {
			t.Fatalf("nothing at %d", at)
		}
		for _, m := range p.Messages {
			if m.Offset != int64(i) || m.Body != fmt.Sprint("body ", i) || m.Keys[0] != fmt.Sprint("k-", i) {
				t.Fatalf("at %d: %+v", i, m)
			}
			i++
		}
		at = p.Next
	}
}

func countRows(t *testing.T, api *admin.Client, topic string) string {
	t.Helper()
	out := ""
	_, err := api.Query(t.Context(), admin.SQLRequest{SQL: "select count(*) from " + topic}, func([]admin.Column) error { return nil }, func(row []any) error {
		out = row[0].(json.Number).String()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWholeNodeOverS3(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("history"); err != nil {
		t.Fatal(err)
	}
	fake := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(fake.Close)
	c := settings(t)
	c.Archive.Kind = "s3"
	c.Archive.S3 = config.S3{Endpoint: fake.URL, Bucket: "history", Prefix: "some/where", Region: "us-east-1", AccessKey: "a", SecretKey: "b"}
	n, api, stop := run(t, c)
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "orders", Queues: 1}); err != nil {
		t.Fatal(err)
	}
	send(t, api, "orders", 0, 300)
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Trim(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	send(t, api, "orders", 300, 400)
	readAll(t, api, "orders", 0, 400)
	if got := countRows(t, api, "orders"); got != "400" {
		t.Errorf("SQL counts %s", got)
	}
	d, err := api.Topic(t.Context(), "orders")
	if err != nil || d.Detail[0].HotStart != 300 || d.Detail[0].Min != 0 || d.Detail[0].Max != 400 {
		t.Errorf("%v: %+v", err, d.Detail)
	}
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics"} {
		resp, err := http.Get("http://" + n.Addr("http") + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", path, resp.StatusCode, text)
		}
		if path == "/" && !strings.Contains(string(text), "/healthz") {
			t.Errorf("front page: %s", text)
		}
		if path == "/metrics" && !strings.Contains(string(text), "varve_hot_appended_messages_total 400") {
			t.Errorf("metrics: %s", text)
		}
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Errorf("end: %v", err)
	}
	if took := time.Since(began); took > stopWithin {
		t.Errorf("the end took %v", took)
	}
	// The same again over what is there.
	_, api, _ = run(t, c)
	readAll(t, api, "orders", 0, 400)
}

// TestArchiveMovedAway starts a node without the archive that it filled.
func TestArchiveMovedAway(t *testing.T) {
	c := settings(t)
	_, api, stop := run(t, c)
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "orders", Queues: 1}); err != nil {
		t.Fatal(err)
	}
	send(t, api, "orders", 0, 100)
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	right, away := filepath.Join(c.DataDir, "archive"), filepath.Join(c.DataDir, "away")
	older := filepath.Join(c.DataDir, "older")
	if err := os.CopyFS(older, os.DirFS(right)); err != nil {
		t.Fatal(err)
	}
	send(t, api, "orders", 100, 300)
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Trim(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(right, away); err != nil {
		t.Fatal(err)
	}
	n, err := Open(t.Context(), c, Options{})
	if err == nil {
		n.closeAll()
		t.Fatal("it starts without its archive")
	}
	if text := err.Error(); !strings.Contains(text, "no archive is there") || !strings.Contains(text, right) {
		t.Errorf("without its archive: %v", err)
	}
	if _, err := os.Stat(filepath.Join(right, "_varve", "identity.json")); err == nil {
		t.Error("an archive was begun in the empty place")
	}
	olderArchive(t, c, older)
	c.Archive.Dir = away
	_, api, _ = run(t, c)
	readAll(t, api, "orders", 0, 300)
	if got := countRows(t, api, "orders"); got != "300" {
		t.Errorf("SQL counts %s", got)
	}
}

// olderArchive runs a node over a backup of its archive from before a trim.
func olderArchive(t *testing.T, c *config.Config, dir string) {
	t.Helper()
	c.Archive.Dir = dir
	n, api, stop := run(t, c)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if ok, why := n.Health().Ready(); !ok {
			if !strings.Contains(why, "the archive ends at offset 100, this log was archived up to 300") {
				t.Errorf("not ready: %s", why)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("ready over an older archive")
		}
	}
	if s, err := api.ArchiveStatus(t.Context()); err != nil || len(s.Blocked) != 1 || s.Blocked[0].Topic != "orders" {
		t.Errorf("status %+v, %v", s, err)
	}
	if err := api.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "not archived any more") {
		t.Errorf("flush: %v", err)
	}
	_, err := api.Query(t.Context(), admin.SQLRequest{SQL: "select count(*) from orders"}, func([]admin.Column) error { return nil }, func([]any) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "the archive ends at offset 100") {
		t.Errorf("query: %v", err)
	}
	skipsNothing(t, n, api)
	if err := stop(); err != nil {
		t.Errorf("end: %v", err)
	}
}

// skipsNothing asks for offsets that an older archive lacks: every client is to
// try again, none is told to go on elsewhere in the queue.
func skipsNothing(t *testing.T, n *Node, api *admin.Client) {
	t.Helper()
	for port, where := range map[string]string{"broker": "1000", "history": "0"} {
		c := wire.NewClient(n.Addr(port), wire.ClientConfig{})
		defer c.Close()
		if r := pullAt(t, c, 150); r.Code != wire.PullRetryImmediately || r.Ext.Get("nextBeginOffset") != "150" || r.Ext.Get("suggestWhichBrokerId") != where {
			t.Errorf("pull from the %s: code %d %s, next %s at %s", port, r.Code, r.Remark, r.Ext.Get("nextBeginOffset"), r.Ext.Get("suggestWhichBrokerId"))
		}
		if port == "broker" { // back from the history node
			if r := pullAt(t, c, 150); r.Code != wire.SystemError || !strings.Contains(r.Remark, "orders@varve-a/0 is archived up to 300") {
				t.Errorf("second pull from the broker: code %d %s", r.Code, r.Remark)
			}
		}
	}
	_, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: "orders", Offset: 150, Max: 10})
	if e := (*admin.Error)(nil); !asAPI(err, &e) || e.Code != admin.CodeUnavailable || !strings.Contains(e.Message, "archived up to 300") {
		t.Errorf("read: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	fake := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(fake.Close)
	denied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>`)
	}))
	t.Cleanup(denied.Close)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	bucket := func(url string) func(*config.Config) {
		return func(c *config.Config) {
			c.Archive.Kind, c.Archive.S3.Endpoint, c.Archive.S3.Bucket = "s3", url, "history"
			c.Archive.S3.AccessKey, c.Archive.S3.SecretKey = "a", "b"
		}
	}
	for _, tc := range []struct {
		name   string
		change func(*config.Config)
		want   []string
	}{
		{"bucket missing", bucket(fake.URL), []string{"archive.s3", "does not exist"}},
		{"bucket denied", bucket(denied.URL), []string{"archive.s3", "refuses these credentials"}},
		{"port in use", func(c *config.Config) { c.Broker.Listen = taken.Addr().String() }, []string{"broker.listen", "in use", taken.Addr().String()}},
		{"not an address here", func(c *config.Config) { c.HTTP.Listen = "192.0.2.1:1" }, []string{"http.listen", "not an address of this machine"}},
		{"every address", func(c *config.Config) { c.Broker.Listen = ":0" }, []string{"broker.advertise", "every address"}},
		{"newer format", func(c *config.Config) { plant(t, c, "FORMAT", "varve 99\n") }, []string{"data-dir", "newer"}},
		{"directory with other things", func(c *config.Config) { plant(t, c, "notes.txt", "x") }, []string{"data-dir", "not empty", "notes.txt"}},
		{"foreign directory", func(c *config.Config) { plant(t, c, "FORMAT", "etcd\n") }, []string{"data-dir", "not a Varve data directory"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := settings(t)
			tc.change(c)
			n, err := Open(t.Context(), c, Options{})
			if err == nil {
				n.closeAll()
				t.Fatal("opened")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q lacks %q", err, w)
				}
			}
			// Nothing stays taken.
			d, err := openDataDir(c.DataDir)
			if err == nil {
				d.close()
			} else if strings.Contains(err.Error(), "in use") {
				t.Errorf("the directory stays locked: %v", err)
			}
		})
	}
}

func plant(t *testing.T, c *config.Config, name, text string) {
	t.Helper()
	if err := os.MkdirAll(c.DataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.DataDir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDataDirHasOneUser(t *testing.T) {
	c := settings(t)
	d, err := openDataDir(c.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(c.DataDir); err == nil || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("a second user: %v", err)
	}
	d.close()
	d, err = openDataDir(c.DataDir)
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	d.close()
}
