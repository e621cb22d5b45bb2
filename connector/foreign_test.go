package connector

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/archive"
	"varve/internal/objstore/fs"
)

// objects gives the files below a directory and their times.
func objects(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	out := map[string]time.Time{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		out[strings.TrimPrefix(path, dir)] = info.ModTime()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestAnotherArchiveInPlace swaps the archive under a running connector, for
// another one and for nothing: none of it is written to, and every message is
// in the right one when that is back.
func TestAnotherArchiveInPlace(t *testing.T) {
	for name, empty := range map[string]bool{"another": false, "none": true} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			dir, away, other := filepath.Join(root, "archive"), filepath.Join(root, "away"), filepath.Join(root, "other")
			newBucket := func(dir string) *fs.Bucket {
				b, err := fs.New(dir)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			foreignLog, foreignOracle := openLog(t, vfs.NewMem()), newOracle(2)
			foreign := start(t, foreignLog, newBucket(other), nil)
			foreignOracle.send(t, foreignLog, 100, 2, 2)
			foreign.mustFlush(t)
			foreign.stop()
			foreignLog.Close()
			if empty {
				if err := errors.Join(os.RemoveAll(other), os.MkdirAll(other, 0o755)); err != nil {
					t.Fatal(err)
				}
			}

			log, o := openLog(t, vfs.NewMem()), newOracle(3)
			defer log.Close()
			bucket := newBucket(dir)
			c := start(t, log, bucket, nil)
			o.send(t, log, 300, 2, 2)
			c.mustFlush(t)

			before := objects(t, other)
			move(t, dir, away)
			move(t, other, dir)
			o.send(t, log, 300, 3, 2)
			c.until(t, "the other archive is noticed", func(s Status) bool { return s.State == Retrying && errors.Is(c.archive.Foreign(), archive.ErrIdentity) })
			failed := c.Status().Failures
			c.until(t, "it is tried again", func(s Status) bool { return s.Failures > failed+5 })
			if _, err := c.archive.Table(t.Context(), "topic-0"); !errors.Is(err, archive.ErrIdentity) {
				t.Errorf("table: %v", err)
			}
			if first := log.Stats().FirstPhysical; trimAll(t, log) != 0 {
				t.Errorf("trimmed from %d to %d while the archive is away", first, log.Stats().FirstPhysical)
			}
			move(t, dir, other)
			if now := objects(t, other); !maps.Equal(now, before) {
				t.Errorf("the other archive changed from %v to %v", before, now)
			}
			move(t, away, dir)
			c.mustFlush(t)
			if err := c.archive.Foreign(); err != nil {
				t.Errorf("still foreign: %v", err)
			}
			if st := c.Status(); len(st.Damaged) != 0 || len(st.Blocked) != 0 {
				t.Errorf("status %+v", st)
			}
			o.check(t, bucket, true)
		})
	}
}
