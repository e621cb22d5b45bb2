package hot

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// syncLog makes everything written so far durable. After an error nothing more
// is appended: the kernel may have dropped the pages, so a second sync that
// succeeds would prove nothing.
func (s *Store) syncLog() error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	if err := s.failure(); err != nil {
		return err
	}
	target := s.written.Load()
	if target <= s.durable.Load() {
		return nil
	}
	segs, dir := s.files.takeDirty()
	var err error
	for _, g := range segs {
		if serr := g.f.SyncData(); serr != nil && err == nil {
			err = fmt.Errorf("syncing %s: %w", g.path, serr)
		}
	}
	if dir && err == nil {
		err = s.files.syncDir()
	}
	if rerr := s.files.releaseAll(segs); rerr != nil {
		s.o.Logger.Warn("retiring segments", "err", rerr)
	}
	if err != nil {
		return s.fail(err)
	}
	s.syncs.Add(1)
	s.durable.Store(target)
	return nil
}

// fail ends appending for good and gives the error that says so.
func (s *Store) fail(err error) error {
	err = fmt.Errorf("%w: %w", ErrFailed, err)
	if s.failed.CompareAndSwap(nil, &err) {
		s.o.Logger.Error("the log takes no more appends", "dir", s.dir, "err", err)
	}
	s.wakeTails()
	return err
}

// failure is why nothing can be appended any more, nil if it can.
func (s *Store) failure() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// noteWritten tells the flusher and the checkpointer of new bytes.
func (s *Store) noteWritten(end int64) {
	if s.o.Flush == FlushAsync && s.flushAsked.CompareAndSwap(false, true) {
		wake(s.flushCh)
	}
	if end-s.checkpointed.Load() >= s.o.CheckpointBytes {
		wake(s.checkpointCh)
	}
}

// wake signals a goroutine that waits on ch; one signal waits at most.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// flushLoop is the flusher goroutine: under FlushAsync it syncs within
// FlushInterval of the first unsynced write, and sooner if there is a Tail.
func (s *Store) flushLoop() {
	defer s.loops.Done()
	for {
		select {
		case <-s.quit:
			return
		case <-s.flushCh:
		}
		if !s.flushPause() {
			return
		}
		s.flushAsked.Store(false)
		if err := s.syncLog(); err != nil {
			return
		}
		s.wakeTails()
	}
}

// flushPause lets writes gather before a sync; false says that the store
// closes.
func (s *Store) flushPause() bool {
	wait := s.o.FlushInterval
	if s.tailCount.Load() > 0 {
		wait = min(wait, tailFlushDelay)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-s.quit:
		return false
	case <-t.C:
	}
	return true
}

// Flush returns when everything that was confirmed before the call is durable.
func (s *Store) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return ErrClosed
	}
	if err := s.syncLog(); err != nil {
		return fmt.Errorf("flushing the log: %w", err)
	}
	s.wakeTails()
	return nil
}

// checkDisk refuses an append while the disk has less than MinFreeBytes. It
// looks again after so many bytes, so long, and on every append while low.
func (s *Store) checkDisk(size int64) error {
	c := &s.c
	if s.o.MinFreeBytes < 0 {
		return nil
	}
	c.sinceDiskCheck += size
	now := s.o.Now().UnixMilli()
	due := c.diskLow || c.sinceDiskCheck >= diskCheckBytes || now-c.lastDiskCheck >= diskCheckEvery.Milliseconds() ||
		now < c.lastDiskCheck
	if !due {
		return nil
	}
	c.sinceDiskCheck, c.lastDiskCheck = 0, now
	err := s.Room()
	c.diskLow = errors.Is(err, ErrDiskFull)
	return err
}

// Room looks whether the disk has room for appends: ErrDiskFull where they
// would be refused now. It may be called concurrently.
func (s *Store) Room() error {
	if s.o.MinFreeBytes < 0 {
		return nil
	}
	free, err := s.diskFree()
	if err == nil && free < s.o.MinFreeBytes && s.files.dropSpares() {
		free, err = s.diskFree()
	}
	if err == nil && free < s.o.MinFreeBytes {
		err = fmt.Errorf("%w: %s has %d bytes left, %d are to stay free", ErrDiskFull, s.dir, free, s.o.MinFreeBytes)
	}
	return err
}

// diskFree is the free space of the directory's disk, math.MaxInt64 where the
// file system can't tell.
func (s *Store) diskFree() (int64, error) {
	u, err := s.o.FS.GetDiskUsage(s.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return math.MaxInt64, nil
	}
	if err != nil {
		return 0, fmt.Errorf("asking for the free space of %s: %w", s.dir, err)
	}
	free := int64(min(u.AvailBytes, math.MaxInt64))
	s.freeBytes.Store(free)
	return free, nil
}

// roomForIndex refuses to write indexes on a disk that is all but full: an
// append can be refused and tried again, but Pebble can't go on when it fails
// to write its manifest.
func (s *Store) roomForIndex() error {
	if s.o.MinFreeBytes < 0 {
		return nil
	}
	free, err := s.diskFree()
	if err != nil {
		return err
	}
	if least := min(s.o.MinFreeBytes/2, indexReserve); free < least {
		return fmt.Errorf("%w: %s has %d bytes left, the indexes need %d", ErrDiskFull, s.dir, free, least)
	}
	return nil
}

// roomToOpen refuses to open the indexes on a full disk, where Pebble may wait
// for ever. It asks for less than roomForIndex, so that a disk that filled up
// under the store doesn't keep it from its next start.
func (s *Store) roomToOpen() error {
	if s.o.MinFreeBytes < 0 {
		return nil
	}
	free, err := s.diskFree()
	if err != nil {
		return err
	}
	if least := min(s.o.MinFreeBytes/4, openReserve); free < least {
		return fmt.Errorf("%w: %s has %d bytes left, opening needs %d", ErrDiskFull, s.dir, free, least)
	}
	return nil
}
