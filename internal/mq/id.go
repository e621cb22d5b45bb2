package mq

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// OffsetMsgID is the broker's message id: the store host and the physical
// offset in upper-case hex, 32 digits for IPv4 and 56 for IPv6. Clients take
// both parts out of it again.
func OffsetMsgID(storeHost netip.AddrPort, physicalOffset int64) string {
	b := make([]byte, 0, 28)
	b = appendHost(b, storeHost)
	b = binary.BigEndian.AppendUint64(b, uint64(physicalOffset))
	return strings.ToUpper(hex.EncodeToString(b))
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
