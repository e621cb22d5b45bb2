package mq

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
)

// OffsetMsgID is the broker's message id: the store host and the physical
// offset in upper-case hex, 32 digits for IPv4 and 56 for IPv6. Clients take
// both parts out of it again.
func OffsetMsgID(storeHost netip.AddrPort, physicalOffset int64) string {
	const digits = "0123456789ABCDEF"
	var raw [28]byte
	b := appendHost(raw[:0], storeHost)
	b = binary.BigEndian.AppendUint64(b, uint64(physicalOffset))
	var text [56]byte
	for i, c := range b {
		text[2*i], text[2*i+1] = digits[c>>4], digits[c&15]
	}
	return string(text[:2*len(b)])
}

// ParseOffsetMsgID is the reverse of OffsetMsgID.
func ParseOffsetMsgID(id string) (storeHost netip.AddrPort, physicalOffset int64, err error) {
	b, err := hex.DecodeString(id)
	if err != nil || (len(b) != 16 && len(b) != 28) {
		return netip.AddrPort{}, 0, fmt.Errorf("message id %q: want 32 or 56 hex digits", id)
	}
	n := len(b) - 8
	return host(b[:n]), int64(binary.BigEndian.Uint64(b[n:])), nil
}
