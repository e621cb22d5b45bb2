package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"varve/internal/admin"
	"varve/internal/config"
	wire "varve/internal/remoting"
)

// store is an S3 store that can be taken away and brought back at its address.
type store struct {
	t       *testing.T
	silent  atomic.Bool // it takes requests and doesn't answer
	handler http.Handler
	addr    string
	server  *http.Server
}

func emptyBucket(t *testing.T) http.Handler {
	backend := s3mem.New()
	if err := backend.CreateBucket("history"); err != nil {
		t.Fatal(err)
	}
	return gofakes3.New(backend).Server()
}

func newStore(t *testing.T) *store {
	s := &store{t: t, handler: emptyBucket(t), addr: "127.0.0.1:0"}
	s.up()
	t.Cleanup(s.down)
	return s
}

func (s *store) up() {
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	answer := s.handler
	s.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.silent.Load() {
			<-r.Context().Done()
			return
		}
		answer.ServeHTTP(w, r)
	})}
	srv := s.server
	go func() { _ = srv.Serve(ln) }()
}

func (s *store) down() { _ = s.server.Close() }

func (s *store) settings(t *testing.T) *config.Config {
	c := settings(t)
	c.Archive.Kind = "s3"
	c.Archive.S3 = config.S3{Endpoint: "http://" + s.addr, Bucket: "history", Prefix: "p", Region: "us-east-1", AccessKey: "a", SecretKey: "b"}
	return c
}

// filled is a node with 300 messages of orders that are in the archive alone.
func filled(t *testing.T, c *config.Config) {
	t.Helper()
	_, api, stop := run(t, c)
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
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// pullAt is a plain pull of queue 0 of orders, as a client of group g sends it.
func pullAt(t *testing.T, c *wire.Client, at int64) *wire.Command {
	t.Helper()
	req := wire.NewRequest(wire.PullMessage, "consumerGroup", "puller", "topic", "orders", "queueId", "0",
		"queueOffset", fmt.Sprint(at), "maxMsgNums", "32", "sysFlag", "4", "commitOffset", "0", "suspendTimeoutMillis", "0",
		"subscription", "*", "subVersion", "0", "expressionType", "TAG")
	resp, err := c.Call(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// consumed is what a push consumer got, in order.
type consumed struct {
	mu      sync.Mutex
	offsets []int64
	more    chan struct{}
}

func consume(t *testing.T, n *Node) *consumed {
	t.Helper()
	rlog.SetLogLevel("fatal")
	got := &consumed{more: make(chan struct{}, 1)}
	c, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer(primitive.NamesrvAddr{n.Addr("route")}), consumer.WithGroupName("g"),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithConsumerOrder(true),
		consumer.WithInstance(t.Name()),
	)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Subscribe("orders", consumer.MessageSelector{}, func(_ context.Context, list ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		got.mu.Lock()
		defer got.mu.Unlock()
		for _, m := range list {
			got.offsets = append(got.offsets, m.QueueOffset)
		}
		select {
		case got.more <- struct{}{}:
		default:
		}
		return consumer.ConsumeSuccess, nil
	})
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Shutdown() })
	return got
}

// wait waits until n messages came and wants them to be 0 to n-1.
func (c *consumed) wait(t *testing.T, n int) {
	t.Helper()
	late := time.After(90 * time.Second)
	for {
		c.mu.Lock()
		have := len(c.offsets)
		c.mu.Unlock()
		if have >= n {
			break
		}
		select {
		case <-c.more:
		case <-late:
			t.Fatalf("%d of %d messages came: %v", have, n, c.offsets)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, off := range c.offsets {
		if off != int64(i) {
			t.Fatalf("message %d has offset %d: %v", i, off, c.offsets)
		}
	}
}

func ask(t *testing.T, api *admin.Client, sql string) error {
	t.Helper()
	_, err := api.Query(t.Context(), admin.SQLRequest{SQL: sql}, func([]admin.Column) error { return nil }, func([]any) error { return nil })
	return err
}

// TestBucketAwayAtStart starts a node whose bucket is out of reach: it serves
// what is hot, says what it can't do, skips nothing, and goes on by itself.
func TestBucketAwayAtStart(t *testing.T) {
	s3 := newStore(t)
	c := s3.settings(t)
	filled(t, c)
	s3.down()

	n, api, stop := run(t, c)
	if ok, why := n.Health().Ready(); ok || !strings.Contains(why, "s3://history/p") || !strings.Contains(why, "refused") {
		t.Errorf("ready %v: %s", ok, why)
	}
	send(t, api, "orders", 300, 400)
	readAll(t, api, "orders", 300, 400)

	client := wire.NewClient(n.Addr("broker"), wire.ClientConfig{})
	defer client.Close()
	if r := pullAt(t, client, 300); r.Code != wire.Success || r.Ext.Get("minOffset") != "0" {
		t.Errorf("hot pull: code %d %s, min %s", r.Code, r.Remark, r.Ext.Get("minOffset"))
	}
	cold := wire.NewClient(n.Addr("history"), wire.ClientConfig{})
	defer cold.Close()
	for name, to := range map[string]*wire.Client{"broker": client, "history": cold} {
		for range 2 {
			if r := pullAt(t, to, 10); r.Code != wire.SystemError || !strings.Contains(r.Remark, "s3://history/p") {
				t.Errorf("cold pull from the %s: code %d %s", name, r.Code, r.Remark)
			}
		}
	}
	first := wire.NewRequest(wire.GetMinOffset, "topic", "orders", "queueId", "0")
	if r, err := client.Call(t.Context(), first); err != nil || r.Code != wire.SystemError || !strings.Contains(r.Remark, "s3://history/p") {
		t.Errorf("first offset: %v, %+v", err, r)
	}
	for what, err := range map[string]error{
		"cold read": func() error {
			_, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: "orders", Offset: 10, Max: 10})
			return err
		}(),
		"query":   ask(t, api, "select count(*) from orders"),
		"explain": func() error { _, err := api.Explain(t.Context(), ""); return err }(),
		"removals": func() error {
			_, err := api.Removals(t.Context(), "")
			return err
		}(),
		"flush": api.Flush(t.Context()),
		"replay": func() error {
			_, err := api.StartReplay(t.Context(), admin.ReplaySpec{Topic: "orders", Target: "again"})
			return err
		}(),
	} {
		var e *admin.Error
		if !asAPI(err, &e) || e.Code != admin.CodeUnavailable || !strings.Contains(e.Message, "s3://history/p") {
			t.Errorf("%s: %v", what, err)
		}
	}
	st, err := api.ArchiveStatus(t.Context())
	if err != nil || !strings.Contains(st.Unreached, "s3://history/p") || st.Pending != 100 {
		t.Errorf("status %+v, %v", st, err)
	}
	if done, err := api.Trim(t.Context(), 0); err != nil || done.FreedBytes != 0 {
		t.Errorf("trimmed %d bytes without an archive, %v", done.FreedBytes, err)
	}

	if raceDetector {
		return // the client has races of its own
	}
	pulls := n.broker.Stats().Pulls
	got := consume(t, n)
	for end := time.Now().Add(60 * time.Second); n.broker.Stats().Pulls < pulls+2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the consumer doesn't pull")
		}
	}
	s3.up()
	got.wait(t, 400)
	awaitReady(t, n)
	if err := api.Flush(t.Context()); err != nil {
		t.Errorf("flush: %v", err)
	}
	readAll(t, api, "orders", 0, 400)
	if got := countRows(t, api, "orders"); got != "400" {
		t.Errorf("SQL counts %s", got)
	}
	if err := stop(); err != nil {
		t.Errorf("end: %v", err)
	}
}

func asAPI(err error, to **admin.Error) bool {
	e, ok := err.(*admin.Error)
	*to = e
	return ok
}

func awaitReady(t *testing.T, n *Node) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if ok, why := n.Health().Ready(); ok {
			return
		} else if time.Now().After(end) {
			t.Fatalf("still not ready: %s", why)
		}
	}
}

// TestWhatEndsTheStart tells mistakes from outages.
func TestWhatEndsTheStart(t *testing.T) {
	s3 := newStore(t)
	c := s3.settings(t)
	filled(t, c)
	right := c.Archive.S3.Endpoint
	refuse := func(status int, code string) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>no</Message></Error>`, code)
		}))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	for name, want := range map[string]struct{ endpoint, reason string }{
		"denied":    {refuse(http.StatusForbidden, "AccessDenied"), "refuses these credentials"},
		"missing":   {refuse(http.StatusNotFound, "NoSuchBucket"), "does not exist"},
		"unwell":    {refuse(http.StatusServiceUnavailable, "SlowDown"), "cannot be opened"},
		"no answer": {"http://" + silent.Addr().String(), "cannot be opened"},
	} {
		c.Archive.S3.Endpoint = want.endpoint
		n, api, stop := run(t, c)
		if ok, why := n.Health().Ready(); ok || !strings.Contains(why, want.reason) {
			t.Errorf("%s: ready %v, %s", name, ok, why)
		}
		readAll(t, api, "orders", 300, 300)
		if err := stop(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.Archive.S3.Endpoint, c.Archive.S3.Prefix = right, "elsewhere"
	n, err := Open(t.Context(), c, Options{})
	if err == nil {
		n.closeAll()
		t.Fatal("it starts without its archive")
	}
	if !strings.Contains(err.Error(), "no archive is there") {
		t.Errorf("another place: %v", err)
	}
}

// TestArchiveCanBeMovedBack refuses the start and leaves nothing where the archive
// was: it can be moved back there.
func TestArchiveCanBeMovedBack(t *testing.T) {
	c := settings(t)
	filled(t, c)
	place, away := filepath.Join(c.DataDir, "archive"), filepath.Join(c.DataDir, "away")
	if err := os.Rename(place, away); err != nil {
		t.Fatal(err)
	}
	refused := func() {
		t.Helper()
		n, err := Open(t.Context(), c, Options{})
		if err == nil {
			n.closeAll()
			t.Fatal("it starts without its archive")
		}
		if !strings.Contains(err.Error(), "no archive is there") {
			t.Errorf("the error is %v", err)
		}
	}
	refused()
	if _, err := os.Stat(place); !errors.Is(err, fs.ErrNotExist) {
		left, _ := os.ReadDir(place)
		t.Errorf("the start made %s: %v", place, left)
	}
	if err := os.Mkdir(place, 0o700); err != nil { // as a mount point is there
		t.Fatal(err)
	}
	refused()
	if left, err := os.ReadDir(place); err != nil || len(left) > 0 {
		t.Errorf("the start left %v, %v", left, err)
	}
	if err := errors.Join(os.Remove(place), os.Rename(away, place)); err != nil {
		t.Fatal(err)
	}
	_, api, _ := run(t, c)
	readAll(t, api, "orders", 0, 300)
}

// TestAnotherBucketComesBack brings another bucket up first where the archive
// was: the process serves on, writes nothing there, and takes the right one.
func TestAnotherBucketComesBack(t *testing.T) {
	s3 := newStore(t)
	c := s3.settings(t)
	filled(t, c)
	s3.down()
	right, wrong := s3.handler, emptyBucket(t)
	n, api, _ := run(t, c)
	s3.handler = wrong
	s3.up()
	awaitCause(t, n, "no archive is there")
	send(t, api, "orders", 300, 310)
	readAll(t, api, "orders", 300, 310)
	req := httptest.NewRequest(http.MethodGet, "/history?list-type=2", nil)
	listed := httptest.NewRecorder()
	wrong.ServeHTTP(listed, req)
	if listed.Code != http.StatusOK || strings.Contains(listed.Body.String(), "identity") {
		t.Errorf("in the wrong bucket: %d %s", listed.Code, listed.Body)
	}
	s3.down()
	s3.handler = right
	s3.up()
	awaitReady(t, n)
	if err := api.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	readAll(t, api, "orders", 0, 310)
}
