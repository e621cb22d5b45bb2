package remoting

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// prompt writes to a socket what it takes at once. It spares the deadline that
// a write needs which may wait, and the goroutine that may wait in it.
type prompt struct {
	raw  syscall.RawConn
	bufs [][]byte
	n    int
	err  error
	once func(fd uintptr) bool // made once
}

// promptly gives what writes at once to a connection, nil where nothing can.
func promptly(nc net.Conn) *prompt {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	p := &prompt{raw: raw}
	p.once = func(fd uintptr) bool {
		if len(p.bufs) == 1 {
			p.n, p.err = unix.Write(int(fd), p.bufs[0])
		} else {
			p.n, p.err = unix.Writev(int(fd), p.bufs)
		}
		return true // whatever came of it
	}
	return p
}

// write says how many bytes of bufs the socket took. One caller at a time.
func (p *prompt) write(bufs [][]byte) (int, error) {
	p.bufs = bufs
	err := p.raw.Write(p.once)
	p.bufs = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(p.err, unix.EAGAIN) || errors.Is(p.err, unix.EINTR):
		return 0, nil
	case p.err != nil:
		return 0, p.err
	}
	return p.n, nil
}
