package meta

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/dbcheck"
)

// openPebble opens a database of which every log can be read, and, where it is
// small, every table. It makes one line of whatever keeps it from being opened.
func openPebble(dir string, o *pebble.Options, small bool) (db *pebble.DB, err error) {
	if err := writable(o.FS, dir); err != nil {
		return nil, fmt.Errorf("meta: open %s: the directory must be writable for this user: %w", dir, err)
	}
	if err := dbcheck.Logs(o.FS, dir); err != nil {
		return nil, fmt.Errorf("meta: open %s: %w", dir, explain(err))
	}
	l := &logger{}
	o.Logger = l
	o.EventListener = &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) {
		// Who reads it gets the error; without this, Pebble ends the process.
		if !l.opened.Load() {
			return
		}
		slog.Error("state database is damaged", "file", i.Path, "error", i.Details.Error())
	}}
	defer func() {
		switch r := recover().(type) {
		case nil:
			l.opened.Store(true)
		case fatal:
			db, err = nil, fmt.Errorf("meta: open %s: %s; the directory and what is in it must be readable and writable for this user", dir, string(r))
		default:
			panic(r)
		}
	}()
	db, err = pebble.Open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("meta: open %s: %w", dir, explain(err))
	}
	if small {
		if err := readAll(db); err != nil {
			return nil, errors.Join(fmt.Errorf("meta: open %s: %w", dir, explain(err)), db.Close())
		}
	}
	return db, nil
}

// writable tries what Pebble does first: where it can't make a file, it ends
// the process.
func writable(fs vfs.FS, dir string) error {
	name := fs.PathJoin(dir, "writable.probe")
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), fs.Remove(name))
}

// readAll reads what there is once: each block's checksum is checked, so that
// damage is known before anything is served.
func readAll(db *pebble.DB) error {
	it, err := db.NewIter(nil)
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		_, err = it.ValueAndErr()
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return err
}

// explain marks damage, and says what can be done about it.
func explain(err error) error {
	if err = dbcheck.Explain(err); !errors.Is(err, dbcheck.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w; copy the data directory, then put this file back from a backup of the same time, or the whole folder from an older one", ErrDamaged, err)
}

// fatal is what Pebble said when it could not go on.
type fatal string

// logger keeps Pebble's own progress lines out of the program's log. Most of
// its errors come back from the calls that meet them, but not those of its
// background work, which it tries again.
type logger struct{ opened atomic.Bool }

func (*logger) Infof(string, ...any) {}

func (*logger) Errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if strings.Contains(text, "corruption detail") {
		return // DataCorruption had it
	}
	slog.Error("state database", "text", text)
}

// Fatalf may not return. While the database is being opened openPebble makes
// an error of it; later there is nobody to give it to.
func (l *logger) Fatalf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !l.opened.Load() {
		panic(fatal(text))
	}
	slog.Error("state database cannot go on", "text", text)
	os.Exit(1)
}
