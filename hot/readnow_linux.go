package hot

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"varve/internal/mq"
)

// readNow fills b from the file if the kernel has all of it in memory; else it
// is mq.ErrWouldWait, whatever keeps the kernel from it.
func readNow(f vfs.File, b []byte, at int64) error {
	fd := f.Fd()
	if fd == vfs.InvalidFd { // in memory, as tests have it
		_, err := f.ReadAt(b, at)
		return err
	}
	if n, err := unix.Preadv2(int(fd), [][]byte{b}, at, unix.RWF_NOWAIT); err != nil || n < len(b) {
		return mq.ErrWouldWait
	}
	return nil
}
