package hot

import (
	"context"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func checked(t *testing.T, fs vfs.FS) (out []CheckedSegment) {
	t.Helper()
	if err := Check(context.Background(), fs, "/hot", func(c CheckedSegment) { out = append(out, c) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCheck(t *testing.T) {
	l, paths, fs := filled(t, vfs.NewCrashableMem(), true)
	var want, records, keys int64
	for _, end := range l.acked {
		want += end
	}
	segs := checked(t, fs)
	for i, c := range segs {
		if c.Problem != "" || c.File != paths[i] {
			t.Errorf("segment %d: %+v", i, c)
		}
		records += c.Records
		keys += c.Keys
	}
	if records != want || keys != want || len(segs) != len(paths) {
		t.Errorf("%d records and %d keys in %d segments, want %d in %d", records, keys, len(segs), want, len(paths))
	}
	flip(t, fs, paths[1], 700)
	flip(t, fs, paths[2], 3)
	segs = checked(t, fs)
	for i, c := range segs {
		if bad := i == 1 || i == 2; bad != (c.Problem != "") {
			t.Errorf("segment %d: %+v", i, c)
		}
	}
	if !strings.Contains(segs[1].Problem, "position") {
		t.Errorf("the problem has no place: %s", segs[1].Problem)
	}
	if err := Check(context.Background(), fs, "/none", func(CheckedSegment) {}); err == nil {
		t.Error("a directory that is not there checks well")
	}
}
