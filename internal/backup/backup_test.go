package backup

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"varve/internal/objstore"
	"varve/internal/objstore/fs"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func newWriter(b objstore.Bucket) *Writer {
	return &Writer{Bucket: b, Broker: "broker a", Now: func() time.Time { return time.Unix(1_900_000_000, 0) }, Logger: slog.New(slog.DiscardHandler)}
}

// items are n entries of 1 KiB, of which every one differs.
func items(n int, change func(i int) bool) Source {
	return Source{Name: "items", Each: func(fn func(string, []byte) error) error {
		for i := range n {
			v := bytes.Repeat([]byte(fmt.Sprintf("%08d", i*7919)), 128)
			if change != nil && change(i) {
				v[0] = 'x'
			}
			if err := fn(fmt.Sprintf("key-%08d", i), v); err != nil {
				return err
			}
		}
		return nil
	}}
}

func readAll(t *testing.T, b objstore.Bucket, m *Manifest, section string) map[string]string {
	t.Helper()
	s, ok := m.Section(section)
	if !ok {
		t.Fatalf("no section %s", section)
	}
	got := map[string]string{}
	if err := s.Each(t.Context(), b, m.Broker, func(k string, v []byte) error { got[k] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	if int64(len(got)) != s.Items {
		t.Errorf("%d items, the section says %d", len(got), s.Items)
	}
	return got
}

// puts counts those since it was asked last.
func puts(b *objtest.Faulty) (n int) {
	for _, c := range b.Calls() {
		if c.Op == objtest.Put {
			n++
		}
	}
	return n
}

func TestOnlyWhatChangedIsWritten(t *testing.T) {
	b := objtest.NewFaulty(mem.New())
	w := newWriter(b)
	write := func(src ...Source) (*Manifest, bool) {
		t.Helper()
		m, made, err := w.Write(t.Context(), Head{Generation: 1}, src)
		if err != nil {
			t.Fatal(err)
		}
		return m, made
	}
	m, made := write(items(20_000, nil))
	parts := len(m.Sections[0].Parts)
	if !made || parts < 5 {
		t.Fatalf("20 MiB in %d parts", parts)
	}
	if got := readAll(t, b, m, "items"); len(got) != 20_000 || got["key-00000003"][:8] != fmt.Sprintf("%08d", 3*7919) {
		t.Errorf("%d items", len(got))
	}
	puts(b)
	if _, made := write(items(20_000, nil)); made || puts(b) != 0 {
		t.Error("an unchanged state was written")
	}
	m2, made := write(items(20_000, func(i int) bool { return i == 10_000 }))
	if n := puts(b); !made || n > 3 {
		t.Errorf("one item changed: %d puts", n)
	}
	if got := readAll(t, b, m2, "items"); got["key-00010000"][0] != 'x' {
		t.Error("the change is not there")
	}
	if m3, made := write(Source{Name: "items", Same: true}); made || m3.Sections[0].Items != 20_000 || puts(b) != 0 {
		t.Errorf("a section that was to stay: %+v", m3.Sections)
	}
	// Another process goes on where this one was.
	w = newWriter(b)
	if _, made := write(items(20_000, func(i int) bool { return i == 10_000 })); made {
		t.Error("the next process wrote an unchanged state")
	}
}

func TestOldSnapshotsAndTheirPartsGo(t *testing.T) {
	b := mem.New()
	w := newWriter(b)
	w.Now = func() time.Time { return time.Now().Add(2 * partGrace) }
	for i := range 3 * Keep {
		src := Source{Name: "n", Each: func(fn func(string, []byte) error) error { return fn("n", fmt.Append(nil, i)) }}
		if _, _, err := w.Write(t.Context(), Head{Generation: 2}, []Source{src}); err != nil {
			t.Fatal(err)
		}
	}
	refs, err := List(t.Context(), b, w.Broker)
	if err != nil || len(refs) > Keep+pruneEvery || refs[0].Sequence != 3*Keep {
		t.Fatalf("%d snapshots, %v", len(refs), err)
	}
	parts := 0
	for _, err := range b.List(t.Context(), partsFolder(w.Broker)) {
		if err != nil {
			t.Fatal(err)
		}
		parts++
	}
	if parts > Keep+pruneEvery {
		t.Errorf("%d parts", parts)
	}
	for i, r := range refs {
		m, err := Load(t.Context(), b, w.Broker, r)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, b, m, "n"); got["n"] != fmt.Sprint(3*Keep-1-i) {
			t.Errorf("snapshot %v has %v", r, got)
		}
	}
}

// TestEveryFault has each call of a snapshot fail in each way: whatever happens,
// the newest readable snapshot is a whole one of what was written before or now.
func TestEveryFault(t *testing.T) {
	hows := []objtest.How{objtest.Before, objtest.After, objtest.Half, objtest.Lie, objtest.Spoil, objtest.Cut}
	state := func(v string) []Source {
		return []Source{
			{Name: "a", Each: func(fn func(string, []byte) error) error { return fn("k", []byte(v)) }},
			{Name: "b", Each: func(fn func(string, []byte) error) error { return fn("k", []byte("b"+v)) }},
		}
	}
	for _, how := range hows {
		for at := 1; at <= 12; at++ {
			inner := mem.New()
			if _, _, err := newWriter(inner).Write(t.Context(), Head{Generation: 1}, state("old")); err != nil {
				t.Fatal(err)
			}
			fault := objtest.Fault{Skip: at - 1, Times: 1, How: how}
			if how >= objtest.Lie {
				fault.Op = objtest.Put
			}
			b := objtest.NewFaulty(inner, fault)
			w := newWriter(b)
			_, _, err := w.Write(t.Context(), Head{Generation: 1}, state("new"))
			b.Clear()
			got, rerr := newest(t.Context(), inner, w.Broker)
			if rerr != nil {
				t.Fatalf("%v at call %d: %v", how, at, rerr)
			}
			if err == nil && got != "new" || got != "new" && got != "old" {
				t.Errorf("%v at call %d: the write said %v, the newest is %q", how, at, err, got)
			}
			// The same writer gets over it.
			if err != nil {
				if _, _, err := w.Write(t.Context(), Head{Generation: 1}, state("new")); err != nil {
					t.Errorf("%v at call %d: again: %v", how, at, err)
				}
			}
			if got, rerr := newest(t.Context(), inner, w.Broker); rerr != nil || got != "new" {
				t.Errorf("%v at call %d: afterwards %q, %v", how, at, got, rerr)
			}
		}
	}
}

// newest reads the newest snapshot that is whole, as a restore does.
func newest(ctx context.Context, b objstore.Bucket, broker string) (string, error) {
	refs, err := List(ctx, b, broker)
	if err != nil {
		return "", err
	}
	for _, r := range refs {
		out := ""
		m, err := Load(ctx, b, broker, r)
		for i := 0; err == nil && i < len(m.Sections); i++ {
			err = m.Sections[i].Each(ctx, b, broker, func(_ string, v []byte) error { out += string(v); return nil })
		}
		if err == nil {
			value, _, _ := strings.Cut(out, "b")
			if out != value+"b"+value {
				return "", fmt.Errorf("a snapshot of two states: %q", out)
			}
			return value, nil
		}
		if !Unreadable(err) {
			return "", err
		}
	}
	return "", errors.New("no snapshot")
}

func TestDamageIsNamed(t *testing.T) {
	b := mem.New()
	w := newWriter(b)
	m, _, err := w.Write(t.Context(), Head{Generation: 1}, []Source{items(10, nil)})
	if err != nil {
		t.Fatal(err)
	}
	name := manifestName(w.Broker, Ref{1, 1})
	data, err := get(t.Context(), b, name, maxManifest)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 4
		if _, err := decodeManifest(bad); err == nil {
			t.Fatalf("byte %d of the manifest may be another", i)
		}
	}
	part := partName(w.Broker, m.Sections[0].Parts[0].SHA256)
	if err := b.Put(t.Context(), part, strings.NewReader("other"), 5, objstore.Always); err != nil {
		t.Fatal(err)
	}
	err = m.Sections[0].Each(t.Context(), b, w.Broker, func(string, []byte) error { return nil })
	if !errors.Is(err, ErrDamaged) || !Unreadable(err) || !strings.Contains(err.Error(), part) {
		t.Errorf("a damaged part: %v", err)
	}
}

// TestGolden reads what version 1 wrote, for ever.
func TestGolden(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("testdata", "v1"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := fs.New(root)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"orders": `{"topicName":"orders"}`, "\x00\xff": "\x00"}
	if *update {
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
		if b, err = fs.New(root); err != nil {
			t.Fatal(err)
		}
		w := newWriter(b)
		_, _, err := w.Write(t.Context(), Head{
			Generation: 3, Archive: "0f0e0d0c-0b0a-4908-8706-050403020100", LogEnd: 1 << 40, LogTime: 1_900_000_000_000, Program: "test",
			Cluster: "C", Advertised: "10.0.0.1:10911", Queues: 7, Unarchived: 2,
		}, []Source{
			{Name: "topic", Each: func(fn func(string, []byte) error) error {
				return errors.Join(fn("\x00\xff", []byte{0}), fn("orders", []byte(want["orders"])))
			}},
			{Name: "empty", Each: func(func(string, []byte) error) error { return nil }},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	refs, err := List(t.Context(), b, "broker a")
	if err != nil || len(refs) != 1 || refs[0] != (Ref{3, 1}) {
		t.Fatalf("%v, %v", refs, err)
	}
	m, err := Load(t.Context(), b, "broker a", refs[0])
	if err != nil {
		t.Fatal(err)
	}
	if m.LogEnd != 1<<40 || m.LogTime != 1_900_000_000_000 || !m.TakenAt.Equal(time.Unix(1_900_000_000, 0)) || m.Unarchived != 2 {
		t.Errorf("head %+v", m.Head)
	}
	got := readAll(t, b, m, "topic")
	if len(got) != 2 || got["orders"] != want["orders"] || got["\x00\xff"] != "\x00" {
		t.Errorf("%q", got)
	}
	if s, ok := m.Section("empty"); !ok || s.Items != 0 {
		t.Errorf("%+v", s)
	}
}

func FuzzUnpack(f *testing.F) {
	p, err := newPacker()
	if err != nil {
		f.Fatal(err)
	}
	p.add("key", []byte("value"))
	_, data := p.pack()
	f.Add(data)
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = unpack(data) })
}
