package timer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrHandle says that a recall handle is none, or not one of this broker.
var ErrHandle = errors.New("bad recall handle")

// Handle names a delayed message to whoever wants to recall it.
type Handle struct {
	Topic     string // real topic
	Broker    string // broker group
	DueMillis int64
	MsgID     string // UNIQ_KEY
	// Physical is where the log has the held message; negative in a handle that
	// somebody else made, which is looked for by time and id.
	Physical int64
}

const (
	handleVersion = "v1"
	handleFields  = 5 // without the position
)

// String is RocketMQ's form, base64 of "v1 topic broker due id", with the
// position behind it: clients read the first five and keep the rest.
func (h Handle) String() string {
	b := make([]byte, 0, 128)
	b = append(b, handleVersion...)
	for _, s := range []string{h.Topic, h.Broker, strconv.FormatInt(h.DueMillis, 10), h.MsgID} {
		b = append(append(b, ' '), s...)
	}
	if h.Physical >= 0 {
		b = strconv.AppendInt(append(b, ' '), h.Physical, 10)
	}
	return base64.URLEncoding.EncodeToString(b)
}

// ParseHandle reads what String wrote, or a handle without the position.
func ParseHandle(text string) (Handle, error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return Handle{}, fmt.Errorf("%w: %.200q is not base64", ErrHandle, text)
	}
	f := strings.Split(string(raw), " ")
	if f[0] != handleVersion || len(f) < handleFields {
		return Handle{}, fmt.Errorf("%w: it holds %.200q, want \"v1 topic broker time id\"", ErrHandle, raw)
	}
	due, err := strconv.ParseInt(f[3], 10, 64)
	if err != nil || due < 0 {
		return Handle{}, fmt.Errorf("%w: its time is %.200q, want milliseconds", ErrHandle, f[3])
	}
	h := Handle{Topic: f[1], Broker: f[2], DueMillis: due, MsgID: f[4], Physical: -1}
	if len(f) == handleFields {
		return h, nil
	}
	last := len(f) - 1
	if h.Physical, err = strconv.ParseInt(f[last], 10, 64); err != nil || h.Physical < 0 {
		return Handle{}, fmt.Errorf("%w: its position is %.200q", ErrHandle, f[last])
	}
	h.MsgID = strings.Join(f[4:last], " ")
	return h, nil
}
