package grpc

import "encoding/binary"

// What of HTTP/2's framing (RFC 9113) counts here.
const (
	prefaceLen = 24 // what a client begins with
	frameHead  = 9

	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameWindow       = 0x8
	frameContinuation = 0x9

	flagEndStream = 0x1
	flagPadded    = 0x8

	windowUpdateLen = 4

	codeCancel      = 0x8
	codeEnhanceCalm = 0xb // clients know it as RESOURCE_EXHAUSTED
)

// frame is the head of one.
type frame struct {
	length int
	typ    byte
	flags  byte
	stream uint32
}

func parseFrame(b []byte) frame {
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), typ: b[3], flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & (1<<31 - 1),
	}
}

func (f frame) ends() bool {
	return f.typ == frameReset || f.flags&flagEndStream != 0 && (f.typ == frameData || f.typ == frameHeaders)
}

// appendFrame adds a whole frame whose payload is one number.
func appendFrame(b []byte, typ byte, stream, payload uint32) []byte {
	b = append(b, 0, 0, 4, typ, 0)
	b = binary.BigEndian.AppendUint32(b, stream)
	return binary.BigEndian.AppendUint32(b, payload)
}

// incoming walks what a client sends, frame by frame, however it is cut.
type incoming struct {
	preface int // bytes of the preface that came
	head    [frameHead]byte
	have    int // bytes of head
	frame   frame
	left    int  // bytes of the payload to come
	padding int  // of them, those that are no data
	padded  bool // the length of the padding is still to come
}

// whole reports whether what came ends with a frame.
func (in *incoming) whole() bool { return in.have == 0 && in.preface == prefaceLen }

// step takes what it can of b: begins says that a frame's head is there, data is
// what follows of a DATA frame's, ends says that the frame is over.
func (in *incoming) step(b []byte) (taken int, begins bool, data []byte, ends bool) {
	if in.preface < prefaceLen {
		n := min(prefaceLen-in.preface, len(b))
		in.preface += n
		return n, false, nil, false
	}
	if in.have < frameHead {
		n := copy(in.head[in.have:], b)
		in.have += n
		if in.have < frameHead {
			return n, false, nil, false
		}
		in.frame = parseFrame(in.head[:])
		in.left, in.padding = in.frame.length, 0
		in.padded = in.frame.typ == frameData && in.frame.flags&flagPadded != 0 && in.left > 0
		if in.left == 0 {
			in.have = 0
		}
		return n, true, nil, in.left == 0
	}
	if in.padded {
		in.padded = false
		in.left--
		in.padding = min(int(b[0]), in.left)
		if in.left == 0 {
			in.have = 0
		}
		return 1, false, nil, in.left == 0
	}
	n := min(in.left, len(b))
	if in.frame.typ == frameData {
		data = b[:min(n, max(0, in.left-in.padding))]
	}
	in.left -= n
	if in.left == 0 {
		in.have = 0
	}
	return n, false, data, in.left == 0
}
