package replay

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"varve/internal/mq"
)

var update = flag.Bool("update", false, "write the golden files again")

func compressed(t *testing.T, kind string, body string) (int32, []byte) {
	t.Helper()
	var out bytes.Buffer
	var err error
	flags := map[string]int32{"zlib": 0x300, "lz4": 0x100, "zstd": 0x200}[kind]
	switch kind {
	case "zlib":
		w := zlib.NewWriter(&out)
		_, err = w.Write([]byte(body))
		err = errors.Join(err, w.Close())
	case "lz4":
		w := lz4.NewWriter(&out)
		_, err = w.Write([]byte(body))
		err = errors.Join(err, w.Close())
	case "zstd":
		var e *zstd.Encoder
		if e, err = zstd.NewWriter(&out); err == nil {
			_, err = e.Write([]byte(body))
			err = errors.Join(err, e.Close())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return flags | mq.SysCompressed, out.Bytes()
}

// TestNDJSON holds the format to its golden file (docs/format/replay.md).
func TestNDJSON(t *testing.T) {
	b := newBus()
	base := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli()
	b.send(srcQueue(1), base+1, `{"amount":12.5,"note":"a\"b"}`, "KEYS", "k1 k2", mq.PropTags, "paid", mq.PropUniqKey, "0A0B", "region", "eu")
	b.send(srcQueue(0), base, "plain text, grüße\nsecond line <&>")
	b.send(srcQueue(0), base+2, "\x00\xff binary", "odd", "\"quoted\" \t")
	b.send(srcQueue(0), base+2, "")
	for i, kind := range []string{"zlib", "lz4", "zstd"} {
		flags, body := compressed(t, kind, "compressed with "+kind)
		b.mu.Lock()
		b.append(srcQueue(1), &mq.Message{Body: body, SysFlag: flags, StoreTimeMillis: base + int64(10+i), ReconsumeTimes: 2, Flag: 9})
		b.append(srcQueue(1), &mq.Message{Body: []byte("not " + kind), SysFlag: flags, StoreTimeMillis: base + int64(10+i)})
		b.mu.Unlock()
	}
	l := &life{bus: b, jobs: newMemJobs()}
	s, _ := l.start(t, Config{})
	var out bytes.Buffer
	p, err := s.Stream(t.Context(), Spec{Source: "src"}, &out)
	if err != nil || p.Written != 10 || p.Read != 10 {
		t.Fatalf("%+v, %v", p, err)
	}
	for line := range strings.Lines(out.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if enc, ok := m["body_base64"].(string); ok {
			if _, err := base64.StdEncoding.DecodeString(enc); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	golden := filepath.Join("testdata", "v1.ndjson")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestStreamOrder: queues are merged by store time, filtered and bounded.
func TestStreamOrder(t *testing.T) {
	b := newBus()
	for i := range 300 {
		b.send(srcQueue(int32(i*7%5)), int64(1000+i/2), fmt.Sprint(i), mq.PropTags, string(rune('a'+i%2)))
	}
	l := &life{bus: b, jobs: newMemJobs()}
	s, _ := l.start(t, Config{BatchMessages: 4})
	var out bytes.Buffer
	p, err := s.Stream(t.Context(), Spec{Source: "src", Tag: "a", FromMillis: 1010, ToMillis: 1100}, &out)
	if err != nil || p.Written != 90 {
		t.Fatalf("%+v, %v, want 90 messages", p, err)
	}
	last, next := "", map[float64]float64{}
	for line := range strings.Lines(out.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m["store_time"].(string) < last {
			t.Fatalf("%s after %s", m["store_time"], last)
		}
		last = m["store_time"].(string)
		id, off := m["queue_id"].(float64), m["queue_offset"].(float64)
		if off < next[id] {
			t.Fatalf("queue %v: offset %v after %v", id, off, next[id])
		}
		next[id] = off + 1
		if m["tag"] != "a" {
			t.Fatalf("tag %v", m["tag"])
		}
	}
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("broken pipe")
	}
	return len(p), nil
}

func TestStreamEnds(t *testing.T) {
	b := newBus()
	for i := range 1000 {
		b.send(srcQueue(0), int64(1000+i), strings.Repeat("x", 200))
	}
	l := &life{bus: b, jobs: newMemJobs()}
	s, _ := l.start(t, Config{})
	if _, err := s.Stream(t.Context(), Spec{Source: "src"}, &brokenWriter{100_000}); err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Stream(t.Context(), Spec{Source: "src"}, &brokenWriter{10_000}); err == nil {
		t.Error("a writer that breaks before the first buffer is full")
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second+time.Millisecond)
		defer cancel()
		var out bytes.Buffer
		_, err := s.Stream(ctx, Spec{Source: "src", MessagesPerSecond: 10}, &out)
		if n := strings.Count(out.String(), "\n"); !errors.Is(err, context.DeadlineExceeded) || n < 18 || n > 23 {
			t.Errorf("%d lines in 2 s at 10 a second, %v", n, err)
		}
	})
}

// writerFunc is a writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestStreamSaysWhereItIs: its places are never beyond what was written, and who
// hears of it hears of its end, whichever it is.
func TestStreamSaysWhereItIs(t *testing.T) {
	b := newBus()
	for i := range 500 {
		b.send(srcQueue(int32(i%2)), int64(1000+i), strings.Repeat("x", 1000))
	}
	l := &life{bus: b, jobs: newMemJobs()}
	var at func() []Place
	begun, ended := 0, 0
	s, _ := l.start(t, Config{Streaming: func(_ context.Context, spec Spec, places func() []Place) func() {
		begun++
		if at = places; spec.Source != "src" || len(at()) != 2 || at()[0] != (Place{srcQueue(0), 0, 250}) {
			t.Errorf("%+v, %+v", spec, at())
		}
		return func() { ended++ }
	}})
	lines := int64(0)
	looked := 0
	_, err := s.Stream(t.Context(), Spec{Source: "src"}, writerFunc(func(p []byte) (int, error) {
		looked++
		lines += int64(bytes.Count(p, []byte("\n")))
		if sum := at()[0].Next + at()[1].Next; sum > lines+1 {
			t.Errorf("at %d with %d lines written", sum, lines)
		}
		return len(p), nil
	}))
	if err != nil || looked < 3 || begun != 1 || ended != 1 || at()[0].Next != 250 || at()[1].Next != 250 {
		t.Errorf("%v; %d writes, begun %d, ended %d, at %+v", err, looked, begun, ended, at())
	}
	if _, err := s.Stream(t.Context(), Spec{Source: "src"}, &brokenWriter{1000}); err == nil || ended != 2 {
		t.Errorf("%v, ended %d", err, ended)
	}
}

// TestSkipErased leaves out what was erased, and nothing else that has no body.
func TestSkipErased(t *testing.T) {
	b := newBus()
	b.send(srcQueue(0), 1000, "body")
	b.send(srcQueue(0), 1001, "", mq.PropErased, "an id")
	b.send(srcQueue(0), 1002, "")
	b.send(srcQueue(0), 1003, "somebody's own", mq.PropErased, "x")
	l := &life{bus: b, jobs: newMemJobs()}
	s, _ := l.start(t, Config{})
	for skip, want := range map[bool]int64{false: 4, true: 3} {
		var out bytes.Buffer
		p, err := s.Stream(t.Context(), Spec{Source: "src", SkipErased: skip}, &out)
		if err != nil || p.Written != want || strings.Contains(out.String(), "an id") == skip {
			t.Errorf("skip %v: %+v, %v\n%s", skip, p, err, &out)
		}
	}
}
