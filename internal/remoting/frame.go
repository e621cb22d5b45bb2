package remoting

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits of a frame.
const (
	// MaxFrame is the largest frame that is taken, by its length field.
	MaxFrame = 16 << 20
	// maxSkip is the largest frame that is skipped and answered with an error.
	// A longer one is taken for another protocol and ends the connection.
	maxSkip = 64 << 20
	// frameHead is the length field and the header word.
	frameHead = 8
)

// ErrBadFrame is wrapped by every decoding error.
var ErrBadFrame = errors.New("bad frame")

// DecodeFrame decodes one frame without its length field into cmd, whose
// fields and body alias the frame. The frame's bytes may be rewritten (escapes
// are resolved in place). cmd.Ext keeps its memory, so that a reused command
// decodes without allocating.
func DecodeFrame(frame []byte, cmd *Command) error {
	*cmd = Command{Ext: cmd.Ext}
	cmd.Ext.reset()
	if len(frame) < 4 {
		return fmt.Errorf("%w: %d bytes, shorter than a header word", ErrBadFrame, len(frame))
	}
	word := binary.BigEndian.Uint32(frame)
	n := int(word & 0xFFFFFF)
	if n > len(frame)-4 {
		return fmt.Errorf("%w: header of %d bytes in a frame of %d", ErrBadFrame, n, len(frame))
	}
	header, body := frame[4:4+n], frame[4+n:]
	cmd.Serializer = Serializer(word >> 24)
	var err error
	switch cmd.Serializer {
	case JSON:
		err = decodeJSON(header, cmd)
	case Binary:
		err = decodeBinary(header, cmd)
	default:
		err = fmt.Errorf("unknown serializer %d", word>>24)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadFrame, err)
	}
	if len(body) > 0 {
		cmd.Body = body
	}
	return nil
}

// AppendFrame encodes cmd, length field included, at the end of dst.
func AppendFrame(dst []byte, cmd *Command) []byte {
	dst = appendHead(dst, cmd, len(cmd.Body))
	return append(dst, cmd.Body...)
}

// appendHead encodes all of a frame but its body of bodyLen bytes.
func appendHead(dst []byte, cmd *Command, bodyLen int) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	if cmd.Serializer == Binary {
		dst = appendBinary(dst, cmd)
	} else {
		dst = appendJSON(dst, cmd)
	}
	n := len(dst) - at - frameHead
	binary.BigEndian.PutUint32(dst[at:], uint32(4+n+bodyLen))
	binary.BigEndian.PutUint32(dst[at+4:], uint32(cmd.Serializer)<<24|uint32(n))
	return dst
}
