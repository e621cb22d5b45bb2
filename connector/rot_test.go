package connector

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/objstore/mem"
)

// rotEnd changes a byte of the record that the log ends with.
func rotEnd(t *testing.T, fs vfs.FS, log *hot.Store) {
	t.Helper()
	names, err := fs.List("log")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		f, err := fs.OpenReadWrite("log/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		at := log.Confirmed() - 100
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no segment among %v", names)
}

// TestRotInWhatIsNotArchived says what holds up the archive for as long as it
// does, and goes on when the segment was dropped.
func TestRotInWhatIsNotArchived(t *testing.T) {
	fs, bucket, o := vfs.NewMem(), mem.New(), newOracle(5)
	log := openLog(t, fs)
	defer log.Close()
	c := start(t, log, bucket, nil)
	o.send(t, log, 100, 1, 1)
	c.mustFlush(t)
	c.stop()
	o.send(t, log, 200, 1, 1)
	rotEnd(t, fs, log)
	o.send(t, log, 50, 1, 1)

	c = start(t, log, bucket, nil)
	st := c.until(t, "the damage is told", func(s Status) bool { return s.LogDamage != "" })
	if !strings.Contains(st.LogDamage, ".log at position") {
		t.Errorf("damage %q", st.LogDamage)
	}
	began := st.Failures
	c.until(t, "it is tried again", func(s Status) bool { return s.Failures > began+3 })
	if st := c.Status(); st.LogDamage == "" {
		t.Errorf("the damage is forgotten: %+v", st)
	}

	if err := log.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.send(t, log, 50, 1, 1)
	if _, err := log.Trim(t.Context(), drop); err != nil {
		t.Fatal(err)
	}
	c.until(t, "the archive goes on", func(s Status) bool { return s.LogDamage == "" && s.State == Running })
	c.mustFlush(t)
	if st := c.Status(); st.LagMessages != 0 || len(st.Blocked) != 0 {
		t.Errorf("status %+v", st)
	}
}
