package dbcheck

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// ErrDamaged says that a log holds what was never written to it.
var ErrDamaged = errors.New("damaged")

// Logs looks through the manifest of the database in dir, and through the
// write-ahead logs that opening it would read. It changes nothing. An error
// that is ErrDamaged names the file and the position.
func Logs(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	manifest, err := atomicfs.ReadMarker(fs, dir, "manifest")
	if err != nil || manifest == "" {
		return err // a database that is yet to be made
	}
	edits := scan{}
	if err := edits.file(fs, fs.PathJoin(dir, manifest)); err != nil {
		return err
	}
	for _, name := range names {
		number, ok := logNumber(name)
		if !ok || number < edits.oldestLog {
			continue // all that it has is in tables
		}
		s := scan{wal: true, number: uint32(number)}
		if err := s.file(fs, fs.PathJoin(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// logNumber gives the number of a write-ahead log: 000012.log.
func logNumber(name string) (uint64, bool) {
	stem, ok := strings.CutSuffix(name, ".log")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(stem, 10, 64)
	return n, err == nil
}

// scan is the way through one file, block by block.
type scan struct {
	wal       bool   // a write-ahead log, else a manifest
	number    uint32 // of the write-ahead log
	oldestLog uint64 // what the manifest's edits say about write-ahead logs

	bad    int64 // position of the first chunk that can't be read
	isBad  bool
	synced uint64 // of the newest chunk that can be read after it
	syncs  int    // how many numbers it was
}

func (s *scan) file(fs vfs.FS, name string) (err error) {
	f, err := fs.Open(name, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	block := make([]byte, blockSize)
	for base := int64(0); ; base += blockSize {
		n, err := io.ReadFull(f, block)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("read %s at position %d: %w", name, base, err)
		}
		ended, err := s.block(block[:n], base)
		if err != nil {
			return fmt.Errorf("%s is %w at position %d: %w", name, ErrDamaged, s.bad, err)
		}
		if ended {
			return nil
		}
	}
}

// block goes through one block, which begins at base. ended says that the
// log's writer ended it there.
func (s *scan) block(b []byte, base int64) (ended bool, err error) {
	at := 0
	if !s.isBad {
		for at+s.shortest() <= len(b) {
			c, ok := s.chunk(b[at:])
			if !ok {
				break
			}
			s.note(c)
			at += c.length
		}
		rest := b[at:]
		switch {
		case len(rest) == 0, len(b) == blockSize && (len(rest) < s.shortest() || len(rest) < syncHeader && allZero(rest)):
			return false, nil // too short for a chunk: filled up
		case s.wal && isTrailer(rest, s.number):
			return true, nil
		}
		s.bad, s.isBad = base+int64(at), true
		if s.oneBitOff(rest) {
			return false, errors.New("one bit is wrong")
		}
		at++
	}
	for ; at+s.shortest() <= len(b); at++ {
		if c, ok := s.chunk(b[at:]); ok && s.proves(c, base+int64(at)) {
			return false, fmt.Errorf("position %d is whole and was written after that had been synced", base+int64(at))
		}
	}
	return false, nil
}

func allZero(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }

// proves reports whether a chunk could be written, at pos, only after the bad
// one was synced. Pebble counts too little for up to where a log is synced once
// it is longer than a block, so what is said outright isn't all. But each time
// that number changes, a sync has ended. The bad chunk was written before the
// first number that follows it changed, the sync after that one took it along,
// and the number changes again when that has ended.
func (s *scan) proves(c chunk, pos int64) bool {
	if !s.wal {
		return c.first
	}
	if c.synced > uint64(pos) {
		return false
	}
	if c.synced > s.synced {
		s.synced = c.synced
		s.syncs++
	}
	return c.synced > uint64(s.bad) || s.syncs > 2
}

// note takes from an edit of the manifest which logs it leaves behind. Edits
// begin with the comparer's name, where they have one, then the oldest log.
func (s *scan) note(c chunk) {
	if s.wal || !c.first {
		return
	}
	const tagComparer, tagOldestLog = 1, 2
	p := c.payload
	number := func() uint64 {
		v, n := binary.Uvarint(p)
		p = p[max(n, 0):]
		return v
	}
	tag := number()
	if tag == tagComparer {
		if skip := number(); skip <= uint64(len(p)) {
			p = p[skip:]
			tag = number()
		}
	}
	if tag == tagOldestLog {
		s.oldestLog = max(s.oldestLog, number())
	}
}
