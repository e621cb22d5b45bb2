package grpc

import (
	"encoding/binary"

	"varve/internal/intake"
)

const (
	messageHead = 5 // of a gRPC message: a flag and its length
	// streamWindow is what a client may send of a call before the call reads it.
	// It is the least that gRPC lets a server have.
	streamWindow = 65_535
)

// arriving is a call whose message isn't whole, or that may send more.
type arriving struct {
	stream uint32
	head   [messageHead]byte
	got    int // of head
	left   int // bytes of the message to come after head
	first  bool
	held   int64 // bytes that count: what came of a message that isn't whole, and what may be unread
	due    int64 // the sweep by which the message has to be whole; 0 while none has begun
	gone   bool

	wants   int64 // in line for so many bytes
	granted int64 // what a large message was let come at once
	share   intake.Share
}

// take notes data of the call, and reports whether a message of it became whole,
// and how much there is behind the first that did.
func (a *arriving) take(data []byte) (whole bool, behind int) {
	for len(data) > 0 {
		if a.got < messageHead {
			n := copy(a.head[a.got:], data)
			a.got, data = a.got+n, data[n:]
			if a.got < messageHead {
				return whole, behind
			}
			a.left = int(binary.BigEndian.Uint32(a.head[1:]))
		}
		n := min(a.left, len(data))
		a.left, data = a.left-n, data[n:]
		if a.left > 0 {
			continue
		}
		if !whole {
			behind = len(data)
		}
		a.got, whole = 0, true
	}
	return whole, behind
}

// begun reports whether part of a message is there.
func (a *arriving) begun() bool { return a.got > 0 }
