package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"varve/internal/config"
)

// formatVersion is the layout of the data directory that this program writes:
// LOCK, FORMAT, log/, meta/, archive/, cache/, tmp/.
const formatVersion = 1

// dataDir is a locked data directory.
type dataDir struct {
	root string
	lock *os.File
	// made is what this process made here, the newest last; refused has close take
	// it away again where nothing else came.
	made    []string
	refused bool
}

// openDataDir makes the directory where it is missing, locks it, and checks
// its format.
func openDataDir(root string) (*dataDir, error) {
	bad := func(format string, args ...any) error {
		return &config.Error{Key: "data-dir", Reason: fmt.Sprintf(format, args...)}
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, bad("%v", err)
	}
	d := &dataDir{root: root}
	if d.missing("") {
		d.made = append(d.made, root)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, bad("make %s: %v", root, pathCause(err))
	}
	if err := refuseForeign(root); err != nil {
		return nil, bad("%v", err)
	}
	for _, name := range []string{"LOCK", "FORMAT"} {
		if d.missing(name) {
			d.made = append(d.made, d.path(name))
		}
	}
	lock, err := os.OpenFile(d.path("LOCK"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, bad("%s cannot be written: %v", root, pathCause(err))
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(lock.Name())
		_ = lock.Close()
		by := ""
		if pid := strings.TrimSpace(string(holder)); pid != "" {
			by = " (process " + pid + ")"
		}
		return nil, bad("%s is in use by another Varve process%s; stop it, or choose another directory", root, by)
	}
	if !sameFile(lock) {
		_ = lock.Close()
		return nil, bad("%s is being left by another Varve process; try again", root)
	}
	d.lock = lock
	if err := d.checkFormat(); err != nil {
		d.close()
		return nil, bad("%v", err)
	}
	if err := lock.Truncate(0); err == nil {
		_, _ = lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return d, nil
}

// refuseForeign keeps the server out of a directory that something else
// filled. What a first start that was cut short leaves may be there, so may an
// archive or the key of users' secrets that was put back, and what a new file
// system has.
func refuseForeign(root string) error {
	if _, err := os.Stat(filepath.Join(root, "FORMAT")); !errors.Is(err, fs.ErrNotExist) {
		return nil // checkFormat judges it
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("read %s: %w", root, pathCause(err))
	}
	for _, e := range entries {
		switch e.Name() {
		case "LOCK", "FORMAT.tmp", "archive", "lost+found", keyFile:
		default:
			return fmt.Errorf("%s is not empty and not a Varve data directory (it has %q and no FORMAT); choose another, or a new one", root, e.Name())
		}
	}
	return nil
}

func (d *dataDir) checkFormat() error {
	name := d.path("FORMAT")
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return writeWhole(name, fmt.Sprintf("varve %d\n", formatVersion))
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	num, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "varve ")
	v, err := strconv.Atoi(num)
	switch {
	case !ok || err != nil:
		return fmt.Errorf("%s is not a Varve data directory: FORMAT says %q", d.root, strings.TrimSpace(string(text)))
	case v > formatVersion:
		return fmt.Errorf("%s was written by a newer Varve: its format is %d, this program knows up to %d", d.root, v, formatVersion)
	}
	return nil
}

// writeWhole writes a small file so that it is there whole or not at all.
func writeWhole(name, text string) error {
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", tmp, err)
	}
	return os.Rename(tmp, name)
}

func (d *dataDir) path(parts ...string) string {
	return filepath.Join(append([]string{d.root}, parts...)...)
}

// restoringFile is there from the beginning of a restore to its end.
const restoringFile = "RESTORING"

// restoring reports whether a restore was begun and has not ended.
func (d *dataDir) restoring() (bool, error) {
	_, err := os.Stat(d.path(restoringFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// bare reports whether no process has kept anything here yet.
func (d *dataDir) bare() bool {
	for _, part := range []string{"log", "meta"} {
		if _, err := os.Stat(d.path(part)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// beginRestore makes the directory bare and notes that a restore has begun; the
// one before left what it leaves.
func (d *dataDir) beginRestore() error {
	if err := writeWhole(d.path(restoringFile), "a restore has begun and not ended\n"); err != nil {
		return err
	}
	if err := d.sync(); err != nil {
		return err
	}
	for _, part := range []string{"log", "meta"} {
		if err := os.RemoveAll(d.path(part)); err != nil {
			return fmt.Errorf("empty %s: %w", d.path(part), err)
		}
	}
	return nil
}

// endRestore notes that everything is there.
func (d *dataDir) endRestore() error {
	if err := d.sync(); err != nil {
		return err
	}
	if err := os.Remove(d.path(restoringFile)); err != nil {
		return err
	}
	return d.sync()
}

// sync makes the directory's entries durable.
func (d *dataDir) sync() error {
	f, err := os.Open(d.root)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *dataDir) missing(name string) bool {
	_, err := os.Lstat(d.path(name))
	return errors.Is(err, fs.ErrNotExist)
}

// sameFile reports whether an open file is still the one of its name: who was
// refused takes its lock away.
func sameFile(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(open, named)
}

// close gives the directory back. After a refused start it is as it was found,
// for another process may have been meant to use it.
func (d *dataDir) close() {
	if d.refused && d.bare() && d.missing(restoringFile) {
		for _, name := range slices.Backward(d.made) {
			_ = os.Remove(name) // a directory with something in it stays
		}
	}
	_ = d.lock.Truncate(0)
	_ = d.lock.Close()
}

// pathCause leaves the path out of an error that already names it.
func pathCause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
