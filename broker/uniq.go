package broker

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

// uniqMaker makes message ids (UNIQ_KEY) for producers that send none, in
// RocketMQ's form: address, process, a number for the instance, milliseconds
// since the start of the month, and a counter, in upper-case hex.
type uniqMaker struct {
	head    [10]byte
	counter atomic.Uint32
}

const (
	uniqLen  = 10 + 4 + 2
	hexUpper = "0123456789ABCDEF"
)

func newUniqMaker(host netip.AddrPort, instance uint32) *uniqMaker {
	m := &uniqMaker{}
	if a := host.Addr().Unmap(); a.Is4() {
		b := a.As4()
		copy(m.head[:4], b[:])
	} else if a.Is6() {
		b := a.As16()
		copy(m.head[:4], b[12:])
	}
	binary.BigEndian.PutUint16(m.head[4:], uint16(os.Getpid()))
	binary.BigEndian.PutUint32(m.head[6:], instance)
	return m
}

// next makes an id that no other call of this maker gave within the month.
func (m *uniqMaker) next(now time.Time) string {
	var b [uniqLen]byte
	copy(b[:], m.head[:])
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, now.Location())
	binary.BigEndian.PutUint32(b[10:], uint32(now.Sub(month).Milliseconds()))
	binary.BigEndian.PutUint16(b[14:], uint16(m.counter.Add(1)))
	var h [2 * uniqLen]byte
	hex.Encode(h[:], b[:])
	for i, c := range h {
		if c >= 'a' {
			h[i] = hexUpper[c-'a'+10]
		}
	}
	return string(h[:])
}
