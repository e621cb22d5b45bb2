package meta

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lamp is a setting of the tests.
type lamp struct {
	Name   string `json:"name"`
	Colour string `json:"colour"`
}

// lamps loads the settings of a store; changes counts what is told of them.
func lamps(t *testing.T, s *Store, changes *int) *Settings[lamp] {
	t.Helper()
	all, err := LoadSettings(s, SettingsOf[lamp]{
		What: "lamp",
		Name: func(l *lamp) string { return l.Name },
		New:  func(name string) lamp { return lamp{name, "white"} },
		Check: func(l *lamp) error {
			if l.Name == "" {
				return errors.New("a lamp has no name")
			}
			return nil
		},
		Clone:   func(l *lamp) *lamp { return &lamp{strings.Clone(l.Name), l.Colour} },
		Equal:   func(a, b *lamp) bool { return *a == *b },
		Changed: func() { *changes++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func names(t *Settings[lamp]) string {
	var out []string
	for _, l := range t.All() {
		out = append(out, l.Name+" "+l.Colour)
	}
	return strings.Join(out, ", ")
}

func TestSettingsChangeAndSurvive(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	changes := 0
	all := lamps(t, s, &changes)
	for i, want := range []bool{true, false} { // the second time nothing changes
		if changed, err := all.Put(lamp{"kitchen", "red"}); changed != want || err != nil {
			t.Errorf("put %d: changed %v, error %v", i, changed, err)
		}
	}
	if have, err := all.PutIfAbsent(lamp{"kitchen", "blue"}); err != nil || have.Colour != "red" {
		t.Errorf("put if absent gives %+v, error %v", have, err)
	}
	buffer := []byte("hall") // a connection's, which the next frame overwrites
	if _, err := all.PutIfAbsent(lamp{unsafe.String(&buffer[0], len(buffer)), "blue"}); err != nil {
		t.Fatal(err)
	}
	copy(buffer, "xxxx")
	if got, want := names(all), "hall blue, kitchen red"; got != want || all.Len() != 2 {
		t.Errorf("there are %q, want %q", got, want)
	}
	if _, err := all.Put(lamp{}); err == nil {
		t.Error("a lamp without a name is taken")
	}
	for _, want := range []bool{true, false} {
		if had, err := all.Delete("hall"); had != want || err != nil {
			t.Errorf("delete: had %v, error %v", had, err)
		}
	}
	if changes != 3 {
		t.Errorf("told of %d changes, want 3", changes)
	}
	b := s.Batch()
	b.PutRaw(s.Table("lamp"), "cellar", []byte(`{"name":"cellar"}`)) // by a version without colours
	if err := errors.Join(b.Commit(true), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, fs)
	defer s.Close()
	if got, want := names(lamps(t, s, &changes)), "cellar white, kitchen red"; got != want {
		t.Errorf("after a restart there are %q, want %q", got, want)
	}
	b = s.Batch()
	b.PutRaw(s.Table("lamp"), "attic", []byte("{"))
	if err := b.Commit(true); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSettings(s, SettingsOf[lamp]{What: "lamp", New: func(string) lamp { return lamp{} }, Clone: func(l *lamp) *lamp { return l }}); err == nil || !strings.Contains(err.Error(), `lamp "attic" in the meta store`) {
		t.Errorf("bad JSON gives %v", err)
	}
}

// What a full disk doesn't take is refused, or kept in memory until a Flush
// where that was asked for.
func TestSettingsOnFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	changes := 0
	all := lamps(t, s, &changes)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: reserveBytes - 1})
	if _, err := all.Put(lamp{"kitchen", "red"}); !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), `save lamp "kitchen"`) {
		t.Errorf("put: error %v", err)
	}
	if _, err := all.PutIfAbsent(lamp{"kitchen", "red"}); !errors.Is(err, ErrDiskFull) {
		t.Errorf("put if absent: error %v", err)
	}
	for _, l := range []lamp{{"hall", "blue"}, {"attic", "red"}} {
		if have, err := all.KeepIfAbsent(l); err != nil || *have != l {
			t.Errorf("keep if absent gives %+v, error %v", have, err)
		}
	}
	if had, err := all.Delete("attic"); !had || err != nil {
		t.Errorf("delete of what isn't saved: had %v, error %v", had, err)
	}
	if err := all.Flush(); !errors.Is(err, ErrDiskFull) {
		t.Errorf("flush: error %v", err)
	}
	if got := names(all); got != "hall blue" || changes != 3 {
		t.Errorf("there are %q after %d changes", got, changes)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: reserveBytes})
	if err := errors.Join(all.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, fs)
	defer s.Close()
	if got := names(lamps(t, s, &changes)); got != "hall blue" {
		t.Errorf("after a restart there are %q", got)
	}
}
