package grpc

import (
	"bytes"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"

	"varve/internal/intake"
)

// script is a connection that gives its input in pieces and keeps what is
// written.
type script struct {
	net.Conn
	in    []byte
	piece int
	out   []byte
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.piece)], s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) { s.out = append(s.out, p...); return len(p), nil }
func (s *script) Close() error                { return nil }

func frameOf(typ, flags byte, stream uint32, payload []byte) []byte {
	return append([]byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), typ, flags, 0, 0, 0, byte(stream)}, payload...)
}

// message is the beginning of one of length bytes.
func messageOf(length, have int) []byte {
	return append([]byte{0, byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}, make([]byte, have)...)
}

// However reads and writes are cut, gRPC reads what came and the client what
// was written, but for what is kept back; and the count is right.
func TestFramesAreWalkedHoweverTheyAreCut(t *testing.T) {
	padded := append(append([]byte{7}, messageOf(10, 3)...), make([]byte, 7)...)
	came := slices.Concat(
		make([]byte, prefaceLen),
		frameOf(0x4, 0, 0, nil),
		frameOf(frameHeaders, 4, 1, make([]byte, 30)),
		frameOf(frameData, 0, 1, messageOf(100, 40)),
		frameOf(frameHeaders, 4, 3, make([]byte, 20)),
		frameOf(frameContinuation, 4, 3, make([]byte, 11)),
		frameOf(frameData, flagPadded, 3, padded),
		frameOf(frameHeaders, 4, 5, make([]byte, 20)),
		frameOf(frameData, flagEndStream, 5, messageOf(5, 5)),
		frameOf(frameHeaders, 4, 7, make([]byte, 20)),
		frameOf(frameData, 0, 7, append(messageOf(5, 5), messageOf(9, 3)...)),
		frameOf(frameData, 0, 99, make([]byte, 50)),
	)
	wrote := slices.Concat(
		frameOf(0x4, 0, 0, make([]byte, 12)),
		frameOf(frameWindow, 0, 0, []byte{0, 1, 0, 0}),
		frameOf(frameWindow, 0, 1, []byte{0, 0, 64, 0}),
		frameOf(frameWindow, 0, 3, []byte{0, 32, 0, 0}), // kept back: 2 MiB
		frameOf(frameData, 0, 5, make([]byte, 33)),
		frameOf(frameHeaders, flagEndStream|4, 5, make([]byte, 9)),
	)
	want := slices.Concat(wrote[:9+12+13+13], wrote[9+12+13+13+13:])
	for piece := 1; piece < len(came); piece++ {
		synctest.Test(t, func(t *testing.T) {
			s := &script{in: came, piece: piece}
			d := newDoors(intake.New(1<<20, 0)).guard(s, func() {})
			got, err := io.ReadAll(d)
			if err != nil || !bytes.Equal(got, came) {
				t.Fatalf("pieces of %d: read %d bytes of %d, %v", piece, len(got), len(came), err)
			}
			for part := range slices.Chunk(wrote, piece) {
				if n, err := d.Write(part); n != len(part) || err != nil {
					t.Fatal(n, err)
				}
			}
			if !bytes.Equal(s.out, want) {
				t.Fatalf("pieces of %d: wrote %x, want %x", piece, s.out, want)
			}
			// 1: headers and a part; 3: two frames of headers and a part without its padding; 7: what is behind the first.
			if want := int64(30 + 45 + 31 + 8 + 8); d.small != want || len(d.calls) != 3 || len(d.line) != 1 {
				t.Fatalf("pieces of %d: %d bytes of %d calls, %d in line; want %d", piece, d.small, len(d.calls), len(d.line), want)
			}
			_ = d.Close()
			if d.small != 0 || len(d.calls) != 0 {
				t.Fatalf("closed: %d bytes of %d calls", d.small, len(d.calls))
			}
		})
	}
}

// A call that is ended is ended for both sides between frames, though the
// server is within one.
func TestACallIsEndedBetweenFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		head := slices.Concat(make([]byte, prefaceLen), frameOf(frameHeaders, 4, 1, make([]byte, 30)))
		rest := frameOf(frameData, 0, 1, messageOf(100, 40))
		s := &script{in: slices.Concat(head, rest), piece: len(head) + len(rest)}
		all := newDoors(intake.New(1<<20, 0))
		d := all.guard(s, func() {})
		d.late = []uint32{1}
		d.calls[1] = &arriving{stream: 1}
		long := frameOf(frameData, 0, 9, make([]byte, 100))
		_, _ = d.Write(long[:50])
		got, err := io.ReadAll(d)
		if want := slices.Concat(head, frameOf(frameReset, 0, 1, []byte{0, 0, 0, codeCancel}), rest); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the server reads %x, %v; want %x", got, err, want)
		}
		synctest.Wait()
		_, _ = d.Write(long[50:])
		if want := slices.Concat(long, frameOf(frameReset, 0, 1, []byte{0, 0, 0, codeEnhanceCalm})); !bytes.Equal(s.out, want) {
			t.Errorf("the client reads %x, want %x", s.out, want)
		}
		if all.shed.Load() != 1 || d.small != 0 {
			t.Errorf("%d calls ended, %d bytes held", all.shed.Load(), d.small)
		}
		_ = d.Close()
	})
}
