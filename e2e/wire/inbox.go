package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// inbox holds what a connection has received and not used. Frames are used
// where they lie: what a driver copies the server under test can't have.
type inbox struct {
	raw  syscall.RawConn
	buf  []byte // bytes [r:w) are unused
	r, w int

	idle func() error // called before a read waits, may be nil
	n    int
	err  error
	once func(fd uintptr) bool // made once
}

func newInbox(c net.Conn, size int) (*inbox, error) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("a connection of type %T has no socket", c)
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil, err
	}
	in := &inbox{raw: raw, buf: make([]byte, size)}
	in.once = func(fd uintptr) bool {
		for {
			in.n, in.err = syscall.Read(int(fd), in.buf[in.w:])
			switch {
			case errors.Is(in.err, syscall.EINTR):
			case errors.Is(in.err, syscall.EAGAIN):
				idle := in.idle
				if in.idle = nil; idle == nil {
					return false
				}
				if in.err = idle(); in.err != nil {
					return true
				}
			default:
				return true
			}
		}
	}
	return in, nil
}

// buffered is how many bytes wait to be used.
func (in *inbox) buffered() int { return in.w - in.r }

// await reads until n bytes wait. idle, if any, is called before it has to wait
// for the peer.
func (in *inbox) await(n int, idle func() error) error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if in.r+n > len(in.buf) {
		to := in.buf
		if n > len(to) {
			to = make([]byte, 2*n)
		}
		in.w = copy(to, in.buf[in.r:in.w])
		in.buf, in.r = to, 0
	}
	for in.buffered() < n {
		in.idle = idle
		err := in.raw.Read(in.once)
		switch {
		case err != nil:
			return err
		case in.err != nil:
			return in.err
		case in.n == 0 && in.buffered() == 0:
			return io.EOF
		case in.n == 0:
			return io.ErrUnexpectedEOF
		}
		in.w += in.n
	}
	return nil
}

// frame gives the next frame behind its length; it is valid until the next call.
func (in *inbox) frame(idle func() error) ([]byte, error) {
	const length = 4
	if err := in.await(length, idle); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(in.buf[in.r:]))
	if n < length || n > frameLimit {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	if err := in.await(length+n, idle); err != nil {
		return nil, err
	}
	b := in.buf[in.r+length : in.r+length+n]
	in.r += length + n
	return b, nil
}
