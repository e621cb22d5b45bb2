package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
)

// pipe gives the inbox of one end of a connection, and the other end.
func pipe(t *testing.T, size int) (*inbox, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	in, err := newInbox(near, size)
	if err != nil {
		t.Fatal(err)
	}
	return in, far
}

func framed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// Frames come whole and in order, whatever a read brings and however small the
// buffer is.
func TestInboxCutsFrames(t *testing.T) {
	var all []byte
	var want [][]byte
	for n := range 60 {
		b := bytes.Repeat([]byte{byte(n)}, 4+n*n%977)
		want = append(want, b)
		all = append(all, framed(b)...)
	}
	for _, piece := range []int{1, 7, 300, len(all)} {
		in, far := pipe(t, 64)
		go func() {
			for b := all; len(b) > 0; b = b[min(piece, len(b)):] {
				if _, err := far.Write(b[:min(piece, len(b))]); err != nil {
					t.Error(err)
					return
				}
			}
			far.Close()
		}()
		for i, w := range want {
			if b, err := in.frame(nil); err != nil || !bytes.Equal(b, w) {
				t.Fatalf("pieces of %d: frame %d has %d bytes, %v; want %d", piece, i, len(b), err, len(w))
			}
		}
		if _, err := in.frame(nil); !errors.Is(err, io.EOF) {
			t.Errorf("pieces of %d: %v behind the last frame", piece, err)
		}
	}
}

// idle is called before a read waits, and not while there is something to read.
func TestInboxIsIdleOnlyBeforeItWaits(t *testing.T) {
	in, far := pipe(t, 1<<10)
	if _, err := far.Write(append(framed([]byte("first")), framed([]byte("second"))...)); err != nil {
		t.Fatal(err)
	}
	if err := in.await(19, nil); err != nil {
		t.Fatal(err)
	}
	idle := 0
	answer := func() error {
		idle++
		_, err := far.Write(framed([]byte("third")))
		return err
	}
	for i, want := range []string{"first", "second", "third"} {
		b, err := in.frame(answer)
		if err != nil || string(b) != want {
			t.Fatalf("frame %q, %v; want %q", b, err, want)
		}
		if was := i / 2; idle != was {
			t.Errorf("idle %d times before %q, want %d", idle, want, was)
		}
	}
	failed := errors.New("failed")
	if _, err := in.frame(func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("idle's error is lost: %v", err)
	}
}

func TestInboxRefusesWhatIsNoFrame(t *testing.T) {
	for _, length := range []uint32{0, 3, frameLimit + 1} {
		in, far := pipe(t, 64)
		if _, err := far.Write(binary.BigEndian.AppendUint32(nil, length)); err != nil {
			t.Fatal(err)
		}
		if _, err := in.frame(nil); err == nil {
			t.Errorf("a frame of %d bytes", length)
		}
	}
	in, far := pipe(t, 64)
	if _, err := far.Write(framed([]byte("a frame that is cut off"))[:9]); err != nil {
		t.Fatal(err)
	}
	far.Close()
	if _, err := in.frame(nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a frame: %v", err)
	}
}
