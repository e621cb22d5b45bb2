package remoting

import (
	"errors"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 200051 ACK_MESSAGE (3443): end one delivery of a POP.
//
// Versions: 5.0 on.
//
// Behaviours: topic is where the message lies, so for a retry the retry topic;
// extraInfo says which delivery. An ack that is repeated is a success. One that
// comes after the message was taken back gets 208, which clients log.
func (f *Front) ackMessage(s *session, req *wire.Command) {
	from := req.From()
	group, h, err := parseHandle(req, false)
	if err == nil {
		err = f.broker.AckOne(group, &h)
	}
	if err != nil {
		f.refuse(s, "ACK_MESSAGE", from, expired(err))
		return
	}
	s.conn.Reply(from, &wire.Command{})
}

// expired is a handle's error with the code that clients know.
func expired(err error) error {
	if errors.Is(err, broker.ErrHandleExpired) {
		return refused(wire.NoMessage, "%s", err)
	}
	return err
}
