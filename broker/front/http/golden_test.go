package http_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	front "varve/broker/front/http"
	"varve/internal/auth"
	"varve/internal/meta"
	"varve/internal/mq"
)

// Requests that each SDK sent, byte for byte: they are signed, in three ways of
// ordering parameters and spelling headers, and the same is made of them.
func TestRecordedRequestsAreUnderstood(t *testing.T) {
	users := func(m *meta.Store) *auth.Store {
		s, err := auth.Open(m, auth.Config{On: true, Key: auth.NewKey(), Cluster: "DefaultCluster"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CreateUser(auth.Anybody, auth.User{Name: "app", Password: "app-has-a-secret", Type: auth.Super}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	recorded := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	for _, sdk := range []string{"go", "node", "python"} {
		t.Run(sdk, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, nodeOptions{users: users, front: front.Config{Now: func() time.Time { return recorded }}})
			n.topic(t, "INST%orders", 1)
			files, err := filepath.Glob("testdata/requests/" + sdk + "-*.http")
			if err != nil || len(files) != 6 {
				t.Fatalf("%d files, %v", len(files), err)
			}
			slices.Sort(files)
			for i, want := range []struct {
				status int
				says   []string
			}{
				{201, []string{"<MessageId>", "<MessageBodyMD5>" + md5Of("<a lamp> & 灯\n")}},
				{404, []string{"MessageNotExist"}}, // its filter is another tag
				{404, []string{"MessageNotExist"}},
				{404, []string{"<Errors ", "MessageNotExist", "0 1700000000000 300000 1 0 varve-a 0 0 123"}},
				{404, []string{"<Error ", "MessageNotExist"}},
				{404, []string{"<Errors ", "MessageNotExist", "half 0 1 sent INST%orders"}},
			} {
				got := n.replay(t, files[i])
				if got.status != want.status {
					t.Errorf("%s: %d %s", files[i], got.status, got.body)
				}
				for _, s := range want.says {
					if !strings.Contains(got.body, s) {
						t.Errorf("%s lacks %q: %s", files[i], s, got.body)
					}
				}
			}
			stored := n.records(t, "INST%orders")
			if len(stored) != 1 {
				t.Fatalf("%d messages are stored", len(stored))
			}
			m, err := stored[0].Decode()
			if err != nil || string(m.Body) != "<a lamp> & 灯\n" || m.Tag() != "paid" || m.Property("KEYS") != "k-1" ||
				m.Property("colour") != "绿" || m.Property("__SHARDINGKEY") != "s" || m.Property("TIMER_DELIVER_MS") != "1700000000123" {
				t.Errorf("stored %q with %q, %v", m.Body, m.Properties, err)
			}
		})
	}
}

// FuzzRequests sends any bytes to the front, recorded requests to begin with:
// it may answer or end the connection, and serves the next one.
func FuzzRequests(f *testing.F) {
	n := startNode(f, nodeOptions{})
	files, err := filepath.Glob("testdata/requests/*.http")
	if err != nil || len(files) == 0 {
		f.Fatalf("recorded requests: %v, %v", files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.ReplaceAll(text, []byte("waitseconds=3"), []byte("waitseconds=0")))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(text); err == nil {
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c) // whatever it says
		}
		resp, err := http.Get("http://" + n.addr + "/topics/nobodys/messages?consumer=g&numOfMessages=1")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("the next request is answered %s", resp.Status)
		}
	})
}

// replay sends a file and gives the answer.
func (n *node) replay(t *testing.T, file string) answer {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// records are the messages of a topic of one queue.
func (n *node) records(t *testing.T, topic string) (out []mq.Record) {
	t.Helper()
	b, err := n.log.Read(t.Context(), mq.Queue{Broker: n.broker.Config().Broker, Topic: topic, ID: 0}, 0, mq.Limit{})
	if err != nil {
		t.Fatal(err)
	}
	for r := range mq.Records(b.Body) {
		out = append(out, r)
	}
	return out
}
