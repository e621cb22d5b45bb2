package remoting

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
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
	large *[]byte // pooled, nil if not in use
	skip  int     // bytes of an oversized frame still to drop
	cmd   Command
}

// read serves the connection's frames until it ends.
func (c *Conn) read() {
	rd := reader{c: c, small: make([]byte, smallBuffer)}
	rd.buf = rd.small
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
		if err := rd.frames(); err != nil {
			return err
		}
		rd.makeRoom()
		rd.c.out.waitBelow(rd.c.cfg.OutHigh)
		if err := rd.fill(); err != nil {
			return err
		}
	}
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
		rd.c.dispatch(have[4:4+n], &rd.cmd)
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
// that has begun where that is not more than twice what has arrived of it.
func (rd *reader) makeRoom() {
	if rd.r == rd.w {
		rd.r, rd.w = 0, 0
		if len(rd.buf) > largeBuffer {
			rd.release()
			rd.useLarge()
		}
		return
	}
	need := frameHead
	if have := rd.buf[rd.r:rd.w]; len(have) >= 4 {
		need = 4 + min(int(binary.BigEndian.Uint32(have)), MaxFrame)
	}
	if len(rd.buf)-rd.r >= need {
		return
	}
	if need <= len(rd.buf) {
		rd.w = copy(rd.buf, rd.buf[rd.r:rd.w])
		rd.r = 0
		return
	}
	if rd.w-rd.r < len(rd.buf)-rd.r {
		return // fill what there is before growing
	}
	old := rd.buf[rd.r:rd.w]
	if need <= largeBuffer && rd.large == nil {
		rd.useLarge()
	} else {
		rd.buf = make([]byte, min(need, 2*max(len(old), largeBuffer)))
	}
	rd.w = copy(rd.buf, old)
	rd.r = 0
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
	rd.buf = rd.small
}

// fill reads once. A connection with nothing buffered gives its large buffer
// back after a while, and ends after the idle timeout.
func (rd *reader) fill() error {
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

func (rd *reader) readOnce(wait time.Duration) error {
	if err := rd.c.nc.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
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
