package hot

import (
	"errors"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"varve/hot/index"
)

// Errors of a Store, wrapped with what was being done and where.
var (
	// ErrBusy says that more bytes wait for the disk than
	// Options.MaxPendingBytes; the append was not taken.
	ErrBusy = errors.New("too many appends are waiting")
	// ErrDiskFull says that the disk has less room than Options.MinFreeBytes,
	// or none. Nothing of the append was kept; later ones work when there is
	// room again.
	ErrDiskFull = errors.New("disk is full")
	// ErrClosed says that the store is closed.
	ErrClosed = errors.New("store is closed")
	// ErrFailed says that the store takes no more appends after an I/O error
	// that leaves its durability unknown. Reads go on; reopening recovers.
	ErrFailed = errors.New("store has failed")
	// ErrTrimmed says that a position is below the first that the log holds.
	ErrTrimmed = errors.New("position has been trimmed")
	// ErrLocked says that another process, or another Store, has the directory.
	ErrLocked = errors.New("directory is in use")
	// ErrFormat says that the directory was written in a format that this
	// version can't read.
	ErrFormat = errors.New("unknown format version")
	// ErrCorrupt says that stored bytes fail their checks. It names the file
	// and the position; nothing is dropped.
	ErrCorrupt = errors.New("corrupt data")
	// ErrTooLarge says that one append is over the limits of a batch.
	ErrTooLarge = errors.New("append is too large")
)

// Damaged tells errors of reading that last, because stored bytes are not what
// was written or the disk doesn't give them any more.
func Damaged(err error) bool {
	for _, e := range []error{ErrCorrupt, index.ErrBad, pebble.ErrCorruption, syscall.EIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
