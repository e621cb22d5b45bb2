package app

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"varve/internal/admin"
	"varve/internal/mq"
	wire "varve/internal/remoting"
	"varve/internal/retention"
)

// rot changes a byte of the log where a text is.
func rot(t *testing.T, c string, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(c, "log", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(data, []byte(text)); i >= 0 {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{data[i] ^ 1}, int64(i)); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no segment of %v has %q", files, text)
}

// TestRotInTheLog reads a queue whose log has a bad record below and one above
// the archived mark.
func TestRotInTheLog(t *testing.T) {
	c := settings(t)
	n, api, _ := run(t, c)
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: "orders", Queues: 1}); err != nil {
		t.Fatal(err)
	}
	send(t, api, "orders", 0, 100)
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	rot(t, c.DataDir, "body 50")
	client := wire.NewClient(n.Addr("broker"), wire.ClientConfig{})
	defer client.Close()
	for at := int64(0); at < 100; {
		r := pullAt(t, client, at)
		if r.Code != wire.Success {
			t.Fatalf("pull at %d: code %d %s", at, r.Code, r.Remark)
		}
		for rec := range mq.Records(r.Body) {
			if rec.QueueOffset() != at {
				t.Fatalf("offset %d at %d", rec.QueueOffset(), at)
			}
			at++
		}
	}
	readAll(t, api, "orders", 0, 100)
	resp, err := http.Get("http://" + n.Addr("http") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !strings.Contains(string(text), "varve_hot_damaged_reads_total 2") {
		t.Errorf("metrics: %v\n%s", err, text)
	}

	send(t, api, "orders", 100, 120)
	rot(t, c.DataDir, "body 110")
	if r := pullAt(t, client, 110); r.Code != wire.SystemError || !strings.Contains(r.Remark, ".log at position") {
		t.Errorf("what the archive lacks: code %d %s", r.Code, r.Remark)
	}
}

// breakTables overwrites the metadata of the tables whose folder has a name in
// it.
func breakTables(t *testing.T, c string, name string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(c, "archive"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".metadata.json") || !strings.Contains(path, name) {
			return err
		}
		n++
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.WriteFile(path, []byte("rot"), 0o444)
	})
	if err != nil || n == 0 {
		t.Fatalf("%d files broken, %v", n, err)
	}
}

// TestRetentionGoesOnPastADamagedTable lists what was removed, says what would go
// and removes it of all topics while one of them can't be read.
func TestRetentionGoesOnPastADamagedTable(t *testing.T) {
	c := settings(t)
	_, api, stop := run(t, c)
	for _, topic := range []string{"alpha", "beta", "gamma"} {
		if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: topic, Queues: 1}); err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			send(t, api, topic, i, i+1)
			if err := api.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := api.SetRule(t.Context(), retention.Rule{Name: "short", Topic: "*", Archive: &retention.ArchiveBounds{Bytes: 1}}); err != nil {
		t.Fatal(err)
	}
	if gone, err := api.Apply(t.Context()); err != nil || len(gone) != 3 {
		t.Fatalf("removed %+v, %v", gone, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	breakTables(t, c.DataDir, "beta")
	n, api, _ := run(t, c)
	list, err := api.Removals(t.Context(), "")
	if err != nil || len(list) != 3 || list[0].Topic != "alpha" || list[1].Topic != "gamma" || list[0].Error != "" ||
		list[2].Topic != "beta" || list[2].Error == "" {
		t.Errorf("%+v, %v", list, err)
	}
	plan, err := api.Explain(t.Context(), "")
	if err != nil || len(plan) != 3 || plan[0].Queue.Topic != "alpha" || plan[1].Queue.Topic != "gamma" || plan[0].Error+plan[1].Error != "" ||
		plan[2].Queue.Topic != "beta" || !strings.Contains(plan[2].Error, "damaged") {
		t.Errorf("%+v, %v", plan, err)
	}
	send(t, api, "gamma", 2, 3)
	if err := api.Flush(t.Context()); err == nil {
		t.Error("a topic that can't be archived is not told of")
	}
	gone, err := api.Apply(t.Context())
	if err != nil || len(gone) != 2 || gone[0].Topic != "gamma" || gone[0].Error != "" || gone[1].Topic != "beta" || gone[1].Error == "" {
		t.Errorf("removed %+v, %v", gone, err)
	}
	awaitCause(t, n, "beta")
}

// awaitCause waits until the process says that it is not ready because of
// something; parts find out when they look.
func awaitCause(t *testing.T, n *Node, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		ok, why := n.Health().Ready()
		if !ok && strings.Contains(why, text) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("ready %v: %s", ok, why)
		}
	}
}

// TestADamagedDataFileIsNamed damages a data file that only the archive has: who
// runs into it is not the only one who learns of it.
func TestADamagedDataFileIsNamed(t *testing.T) {
	for name, meet := range map[string]func(*admin.Client) error{
		"read": func(api *admin.Client) error {
			_, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: "orders", Offset: 10, Max: 10})
			return err
		},
		"SQL": func(api *admin.Client) error { return ask(t, api, "select sum(length(body)) from orders") },
	} {
		t.Run(name, func(t *testing.T) {
			c := settings(t)
			filled(t, c)
			n, api, _ := run(t, c)
			files, err := api.ArchiveFiles(t.Context(), "orders")
			if err != nil || len(files) != 1 {
				t.Fatalf("%+v, %v", files, err)
			}
			path := filepath.Join(c.DataDir, "archive", files[0].Name)
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, files[0].Bytes/2); err != nil {
				t.Fatal(err)
			}
			if err := meet(api); err == nil {
				t.Fatal("nobody notices")
			}
			awaitCause(t, n, files[0].Name)
			st, err := api.ArchiveStatus(t.Context())
			if err != nil || len(st.BadFiles) != 1 || st.BadFiles[0].Name != files[0].Name || st.BadFiles[0].Topic != "orders" || st.BadFiles[0].Reason == "" {
				t.Errorf("%+v, %v", st.BadFiles, err)
			}
		})
	}
}
