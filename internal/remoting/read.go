package remoting

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"varve/internal/intake"
)

const (
	// smallBuffer is what an idle connection reads into.
	smallBuffer = 2 << 10
	// largeBuffer is what a busy connection reads into.
	largeBuffer = 128 << 10
	// shrinkAfter is how long a connection keeps an empty large buffer.
	shrinkAfter = 2 * time.Second
	// maxSkippedHeader is the longest header of an oversized frame that is
	// decoded to find out whom to answer.
	maxSkippedHeader = 64 << 10
	// deadlineSlack is the part of a read's time that it may be short of, so
	// that not every read sets a deadline.
	deadlineSlack = 64
	// nobody is the opaque number of a reply to a request whose number can't
	// be known. No client uses it.
	nobody = -1
)

var largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}

// reader cuts a connection's bytes into frames.
type reader struct {
	c     *Conn
	buf   []byte // bytes [r:w) are unread
	r, w  int
	small []byte
	large *[]byte      // pooled, nil if not in use
	skip  int          // bytes of an oversized frame still to drop
	begun time.Time    // when the unread frame in buf was first waited for; zero if there is none
	share intake.Share // of Config.reading, for a buf over the large one
	step  intake.Step  // of the frame in buf, while share has something
	// deadline is that of the connection's reads.
	deadline time.Time
	cmd      Command

	pace  pace
	posts int  // among the requests of the last read
	ready bool // the last read had not to wait
}

// read serves the connection's frames until it ends.
func (c *Conn) read() {
	rd := reader{c: c, small: make([]byte, smallBuffer), share: c.cfg.reading.Share()}
	rd.buf = rd.small
	rd.w = copy(rd.buf, c.first)
	err := rd.run()
	rd.release()
	if !errors.Is(err, io.EOF) && c.ctx.Err() == nil {
		c.cfg.Logger.Debug("connection ended", slog.String("peer", c.remote.String()), slog.Any("err", err))
	}
	c.fail(err)
	c.running.Wait()
}

func (rd *reader) run() error {
	for {
		if err := rd.requests(); err != nil {
			return err
		}
		if rd.r == rd.w && rd.skip == 0 {
			rd.begun = time.Time{}
		} else if rd.begun.IsZero() {
			rd.begun = time.Now()
		}
		if err := rd.makeRoom(); err != nil {
			return err
		}
		rd.c.out.waitBelow(rd.c.cfg.writing.high(rd.c.cfg.OutHigh))
		if f := rd.c.cfg.BeforeRead; f != nil && rd.posts > 0 {
			f(rd.c)
		}
		if rd.pace.next(rd.posts, rd.ready) {
			time.Sleep(pauseTime)
		}
		begun := time.Now()
		if err := rd.fill(); err != nil {
			return err
		}
		rd.ready = time.Since(begun) < readyWithin
	}
}

// requests handles every whole frame in the buffer and writes what could be
// answered at once.
func (rd *reader) requests() error {
	rd.posts = 0
	if rd.w-rd.r < 4 {
		return nil
	}
	rd.c.out.cork()
	err := rd.frames()
	if f := rd.c.cfg.AfterRead; f != nil {
		rd.posts = f(rd.c)
	}
	rd.c.uncork()
	return err
}

// frames handles every whole frame in the buffer.
func (rd *reader) frames() error {
	for {
		if rd.skip > 0 {
			n := min(rd.skip, rd.w-rd.r)
			rd.skip -= n
			rd.r += n
		}
		have := rd.buf[rd.r:rd.w]
		if len(have) < 4 || rd.skip > 0 {
			return nil
		}
		n := int(binary.BigEndian.Uint32(have))
		if n > MaxFrame {
			if done, err := rd.oversized(n, have); err != nil || !done {
				return err
			}
			continue
		}
		if len(have) < 4+n {
			return nil
		}
		rd.r += 4 + n
		rd.begun, rd.step = time.Time{}, intake.Step{}
		rd.c.dispatch(have[4:4+n], &rd.cmd)
		rd.c.relieve()
	}
}

// oversized answers a frame over the limit and has it skipped, once its header
// is there.
func (rd *reader) oversized(n int, have []byte) (done bool, err error) {
	if n > maxSkip {
		return false, fmt.Errorf("%w: length %d: not this protocol, or far over the limit of %d", ErrBadFrame, n, MaxFrame)
	}
	if len(have) < frameHead {
		return false, nil
	}
	header := int(binary.BigEndian.Uint32(have[4:]) & 0xFFFFFF)
	from := From{Opaque: nobody}
	if header <= maxSkippedHeader {
		if len(have) < frameHead+header {
			return false, nil
		}
		if err := DecodeFrame(have[4:frameHead+header], &rd.cmd); err == nil {
			from = rd.cmd.From()
		}
	}
	rd.c.ReplyError(from, MessageIllegal, fmt.Sprintf("frame of %d bytes is over the limit of %d", n, MaxFrame))
	rd.skip = 4 + n
	return true, nil
}

// makeRoom sees to it that the next read has space, for the whole of a frame
// that has begun where that is not more than twice what has arrived of it: the
// memory grows with what arrives, not with what is announced.
func (rd *reader) makeRoom() error {
	if rd.r == rd.w {
		rd.r, rd.w = 0, 0
		if len(rd.buf) > largeBuffer {
			rd.release()
			rd.useLarge()
		}
		return nil
	}
	need := rd.need()
	old := rd.buf[rd.r:rd.w]
	switch {
	case len(rd.buf) > largeBuffer && need <= largeBuffer:
		rd.giveBack() // what follows a large frame doesn't keep its buffer
		rd.useLarge()
	case len(rd.buf)-rd.r >= need:
		return nil
	case need <= len(rd.buf): // at the front
	case rd.w < len(rd.buf):
		return nil // fill what there is before growing
	case need <= largeBuffer:
		rd.useLarge()
	default:
		size := min(need, 2*max(len(old), largeBuffer))
		if err := rd.wait(size); err != nil {
			return fmt.Errorf("a frame of %d bytes found no room beside others for %s: %w", need, rd.c.cfg.FrameTimeout, err)
		}
		rd.buf = make([]byte, size)
	}
	rd.w = copy(rd.buf, old)
	rd.r = 0
	return nil
}

// need is the length of the frame that has begun, as far as it is known.
func (rd *reader) need() int {
	if have := rd.buf[rd.r:rd.w]; len(have) >= 4 {
		return 4 + min(int(binary.BigEndian.Uint32(have)), MaxFrame)
	}
	return frameHead
}

// wait takes of the budget for a buffer of size bytes.
func (rd *reader) wait(size int) error {
	ctx, cancel := context.WithDeadline(rd.c.ctx, rd.begun.Add(rd.c.cfg.FrameTimeout))
	defer cancel()
	return rd.share.Grow(ctx, int64(size))
}

func (rd *reader) giveBack() {
	rd.share.Release()
	rd.step = intake.Step{}
}

func (rd *reader) useLarge() {
	if rd.large == nil {
		rd.large = largeBuffers.Get().(*[]byte)
	}
	rd.buf = *rd.large
}

func (rd *reader) release() {
	rd.cmd = Command{} // it aliases the buffer
	if rd.large != nil {
		largeBuffers.Put(rd.large)
		rd.large = nil
	}
	rd.giveBack()
	rd.buf = rd.small
}

// fill reads once. A connection with nothing buffered gives its large buffer
// back after a while, and ends after the idle timeout. A frame that has begun
// must be there within the frame timeout, however it trickles.
func (rd *reader) fill() error {
	if !rd.begun.IsZero() {
		left := time.Until(rd.begun.Add(rd.c.cfg.FrameTimeout))
		switch still := rd.c.cfg.StepTimeout - rd.step.Waited; {
		case rd.share.Taken() && still < left:
			return rd.fillStep(still)
		case left < rd.c.cfg.IdleTimeout:
			err := rd.readOnce(left)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("a frame was not there %s after its beginning: %w", rd.c.cfg.FrameTimeout, err)
			}
			return err
		}
	}
	idle := rd.c.cfg.IdleTimeout
	if rd.large != nil && rd.w == 0 && idle > shrinkAfter {
		if err := rd.readOnce(shrinkAfter); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		rd.release()
		idle -= shrinkAfter
	}
	err := rd.readOnce(idle)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("nothing received for %s: %w", rd.c.cfg.IdleTimeout, err)
	}
	return err
}

// fillStep is fill for a frame that others may have to wait for. Only the time
// in which nothing else held it up counts.
func (rd *reader) fillStep(left time.Duration) error {
	from, began := rd.w, time.Now()
	err := rd.readOnce(left)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %d bytes of one of %d in %s, want %d", ErrSlowFrame, rd.step.Bytes, rd.need(), rd.c.cfg.StepTimeout, intake.StepBytes)
	}
	rd.step.Add(rd.w-from, time.Since(began))
	return err
}

func (rd *reader) readOnce(wait time.Duration) error {
	// One that is nearly as late already will do.
	if end := time.Now().Add(wait); rd.deadline.After(end) || rd.deadline.Before(end.Add(-wait/deadlineSlack)) {
		if err := rd.c.nc.SetReadDeadline(end); err != nil {
			return err
		}
		rd.deadline = end
	}
	n, err := rd.c.nc.Read(rd.buf[rd.w:])
	rd.w += n
	if n > 0 {
		if len(rd.buf) == smallBuffer && rd.w == smallBuffer {
			old := rd.buf[rd.r:rd.w]
			rd.useLarge()
			rd.w, rd.r = copy(rd.buf, old), 0
		}
		return nil
	}
	return err
}

// dispatch handles one frame.
func (c *Conn) dispatch(frame []byte, cmd *Command) {
	if err := DecodeFrame(frame, cmd); err != nil {
		c.undecodable(frame, err)
		return
	}
	switch {
	case cmd.IsReply():
		c.calls.deliver(cmd)
	case c.handler == nil:
		c.ReplyError(cmd.From(), RequestCodeNotSupported, "this side takes no requests")
	default:
		c.peer.Store(uint32(cmd.Serializer))
		c.handle(c.handler, cmd)
	}
}

func (c *Conn) undecodable(frame []byte, err error) {
	from := From{Opaque: nobody}
	if len(frame) >= 4+9 && Serializer(frame[0]) == Binary {
		from.Serializer = Binary
		from.Opaque = int32(binary.BigEndian.Uint32(frame[4+5:]))
	} else if n, ok := salvageOpaque(frame); ok {
		from.Opaque = n
	}
	c.cfg.Logger.Warn("frame refused", slog.String("peer", c.remote.String()), slog.Any("err", err))
	c.ReplyError(from, SystemError, err.Error())
}
