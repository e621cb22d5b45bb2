package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"varve/broker"
	"varve/connector"
	"varve/internal/admin"
	"varve/internal/config"
	"varve/internal/mq"
	"varve/internal/retention"
)

// bucketed are settings whose archive outlives the data directory.
func bucketed(t *testing.T) *config.Config {
	c := settings(t)
	c.Archive.Dir = filepath.Join(t.TempDir(), "bucket")
	return c
}

// elsewhere are the same settings with another data directory.
func elsewhere(t *testing.T, c *config.Config) *config.Config {
	d := *c
	d.DataDir = filepath.Join(t.TempDir(), "data")
	return &d
}

func mustCreate(t *testing.T, api *admin.Client, topic string, queues int) {
	t.Helper()
	if _, err := api.CreateTopic(t.Context(), admin.TopicSpec{Name: topic, Queues: queues}); err != nil {
		t.Fatal(err)
	}
}

func delayed(t *testing.T, n *Node, topic, body string, due time.Time) {
	t.Helper()
	props := mq.AppendProperty(nil, mq.PropTimerDeliverMs, fmt.Sprint(due.UnixMilli()))
	props = mq.AppendProperty(props, mq.PropUniqKey, "id-"+body)
	_, err := n.broker.Send(t.Context(), &broker.SendRequest{Message: mq.Message{Topic: topic, Body: []byte(body), Properties: props}})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRestoreAfterTheDiskIsLost(t *testing.T) {
	c := bucketed(t)
	n, api, stop := run(t, c)
	mustCreate(t, api, "orders", 1)
	send(t, api, "orders", 0, 300)
	if err := n.broker.PutGroup(broker.DefaultGroup("pay")); err != nil {
		t.Fatal(err)
	}
	if err := n.broker.CommitOffset("pay", "orders", 0, 120); err != nil {
		t.Fatal(err)
	}
	if err := api.SetRule(t.Context(), retention.Rule{Name: "year", Topic: "orders", Archive: &retention.ArchiveBounds{}}); err != nil {
		t.Fatal(err)
	}
	if err := n.broker.PutQuota(broker.Quota{Tenant: "acme", SendMessages: 7}); err != nil {
		t.Fatal(err)
	}
	due := time.Now().Add(365 * 24 * time.Hour)
	delayed(t, n, "orders", "next year", due)
	awaitHeld(t, n, 1)
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	send(t, api, "orders", 300, 310) // lost
	if err := n.broker.CommitOffset("pay", "orders", 0, 305); err != nil {
		t.Fatal(err)
	}
	if err := n.backup.take(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// Nothing of what the stop archived counts: the disk was lost before it.

	// A new machine.
	d := elsewhere(t, c)
	_, err := Open(t.Context(), d, Options{Version: "test"})
	var bad *config.Error
	if !errors.As(err, &bad) || bad.Key != "data-dir" || !strings.Contains(bad.Reason, "--restore") {
		t.Fatalf("an empty data directory over the archive: %v", err)
	}
	if _, err := os.Stat(d.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused start left its directory: %v", err)
	}
	d.Restore = true
	n, api, stop = run(t, d)
	detail, err := api.Topic(t.Context(), "orders")
	if err != nil || detail.Detail[0].Min != 0 {
		t.Fatalf("%+v, %v", detail, err)
	}
	end := int(detail.Detail[0].Max)
	readAll(t, api, "orders", 0, end)
	if off, err := n.broker.QueryOffset(t.Context(), "pay", "orders", 0, false); err != nil || off != min(305, int64(end)) {
		t.Errorf("the group goes on at %d, %v", off, err)
	}
	if rules, err := api.Rules(t.Context()); err != nil || len(rules) != 1 || rules[0].Name != "year" {
		t.Errorf("rules %+v, %v", rules, err)
	}
	if q := n.broker.Quotas(); len(q) != 1 || q[0].SendMessages != 7 {
		t.Errorf("quotas %+v", q)
	}
	awaitHeld(t, n, 1)
	send(t, api, "orders", end, end+50)
	readAll(t, api, "orders", 0, end+50)
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Trim(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	readAll(t, api, "orders", 0, end+50)
	if got := countRows(t, api, "orders"); got != fmt.Sprint(end+50) {
		t.Errorf("SQL counts %s", got)
	}

	// The old machine comes back.
	old, _, _ := run(t, c)
	awaitCause(t, old, "another data directory")
	if st := old.connector.Status(); st.State != connector.Fenced {
		t.Errorf("the old connector is %s", st.State)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	n, api, _ = run(t, d) // restore: true stays in the settings
	awaitReady(t, n)
	readAll(t, api, "orders", 0, end+50)
}

// A server whose broker group is restored elsewhere while it runs, and that has
// nothing to archive, says so all the same.
func TestArchiveTakenOverIsTold(t *testing.T) {
	c := bucketed(t)
	c.Backup.Every = time.Hour
	n, api, _ := run(t, c)
	mustCreate(t, api, "orders", 1)
	send(t, api, "orders", 0, 10)
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, n)
	d := elsewhere(t, c)
	d.Restore = true
	_, _, stop := run(t, d)
	awaitCause(t, n, "generation 2")
	s, err := api.Status(t.Context())
	if err != nil || s.Ready || !strings.Contains(s.Reason, "broker group "+c.Broker.Name) || !strings.Contains(s.Reason, "another data directory") {
		t.Errorf("status %+v, %v", s, err)
	}
	if a, err := api.ArchiveStatus(t.Context()); err != nil || !strings.Contains(a.Error, "generation 2") {
		t.Errorf("archive status says %q, %v", a.Error, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func awaitHeld(t *testing.T, n *Node, want int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		held, _, err := n.broker.Held(broker.HeldQuery{Max: 10})
		if err == nil && len(held) == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("held back: %+v, %v", held, err)
		}
	}
}

func TestRestoreThatWasCutShortIsRepeated(t *testing.T) {
	c := bucketed(t)
	_, api, stop := run(t, c)
	mustCreate(t, api, "orders", 1)
	send(t, api, "orders", 0, 40)
	if err := api.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	d := elsewhere(t, c)
	dir, err := openDataDir(d.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.beginRestore(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir.path("log", "index"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir.close()
	var bad *config.Error
	if _, err := Open(t.Context(), d, Options{}); !errors.As(err, &bad) || bad.Key != "restore" {
		t.Fatalf("half a data directory: %v", err)
	}
	d.Restore = true
	_, api, _ = run(t, d)
	readAll(t, api, "orders", 0, 40)
	send(t, api, "orders", 40, 50)
	readAll(t, api, "orders", 0, 50)
}

// Who has to answer for what a lost disk loses sees up to when the bucket has
// the state, and why it does not.
func TestStateInTheBucketIsTold(t *testing.T) {
	c := bucketed(t)
	c.Backup.Every = time.Hour
	n, api, _ := run(t, c)
	mustCreate(t, api, "orders", 1)
	before := time.Now()
	if err := n.backup.take(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	s, err := api.ArchiveStatus(t.Context())
	if err != nil || s.State == nil || s.State.At.Before(before) || s.State.Generation != 1 || s.State.Sequence == 0 || s.State.Error != "" {
		t.Fatalf("state %+v, %v", s.State, err)
	}
	if age := n.backup.age(); age > time.Since(before) {
		t.Errorf("the state is %v old", age)
	}
	mustCreate(t, api, "bills", 1)
	folder := filepath.Join(c.Archive.Dir, "_varve", "state")
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.backup.take(t.Context(), true); err == nil {
		t.Fatal("the state was kept in a file's place")
	}
	after, err := api.ArchiveStatus(t.Context())
	if err != nil || !after.State.At.Equal(s.State.At) || after.State.Error == "" {
		t.Errorf("state %+v, %v; it was %+v", after.State, err, s.State)
	}
	if age := n.backup.age(); age < time.Since(s.State.At)-time.Second {
		t.Errorf("the state is %v old", age)
	}
}
