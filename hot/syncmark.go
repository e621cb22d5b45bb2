package hot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot/segment"
)

// syncedFile holds the position up to which the log was synced at the last
// checkpoint, and its CRC-32C. It is written over without a sync, which costs
// next to nothing: a power loss may leave an older position or none, a killed
// process leaves the last. It never says more than was synced, so a log that
// ends below it has lost something. The index's own checkpoint is not durable
// until its next flush.
const (
	syncedFile = "SYNCED"
	syncedLen  = 12
)

// noteSynced writes that the log is synced up to a position. One call at a time.
func (s *Store) noteSynced(upTo int64) {
	path := s.o.FS.PathJoin(s.dir, syncedFile)
	b := binary.BigEndian.AppendUint64(make([]byte, 0, syncedLen), uint64(upTo))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	f, err := s.o.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.WriteAt(b, 0)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		s.o.Logger.Warn("noting how far the log is synced", "file", path, "err", err)
	}
}

// readSynced gives what noteSynced wrote, 0 where nothing whole is there.
func (s *Store) readSynced() (int64, error) {
	path := s.o.FS.PathJoin(s.dir, syncedFile)
	f, err := s.o.FS.Open(path)
	if isNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("opening %s: %w", path, err)
	}
	b := make([]byte, syncedLen)
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	if n < syncedLen || crc32.Checksum(b[:8], castagnoli) != binary.BigEndian.Uint32(b[8:]) {
		return 0, nil
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// checkEnd refuses an end of the log, in segment g, below what was synced, even
// where the archive has it all: the index may not know the queues yet, and would
// give their offsets out again.
func (s *Store) checkEnd(g *seg, end int64, why error) error {
	upTo, err := s.readSynced()
	if err != nil || end >= upTo {
		return err
	}
	if why == nil {
		why = fmt.Errorf("%w batch: the file ends", segment.ErrInvalid)
	}
	return fmt.Errorf("%w: %s at position %d: %w; %s says that the log was synced up to %d", ErrCorrupt, g.path, end, why, syncedFile, upTo)
}
