package segment

import (
	"bytes"
	"encoding/binary"
)

// trailerStart is how every trailer begins.
var trailerStart = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, TrailerLen), trailerMagic)

// evidenceIn looks for a trailer in b, which lies at position at.
func evidenceIn(b []byte, at, from int64, epoch uint64) (durable int64, ok bool) {
	for off := 0; ; {
		i := bytes.Index(b[off:], trailerStart)
		if i < 0 {
			return 0, false
		}
		off += i
		t, length, _, err := parseTrailer(b[off:])
		if err == nil && t.Start+int64(length) == at+int64(off) && t.Epoch >= epoch && t.Durable > from {
			return t.Durable, true
		}
		off += len(trailerStart)
	}
}
