package remoting

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strconv"

	"varve/broker"
	wire "varve/internal/remoting"
)

// batchAck is one entry of code 200151: offsets of one queue, given out at one
// time. RocketMQ writes the short names and reads the long ones too.
type batchAck struct {
	Group         string  `json:"c"`
	Topic         string  `json:"t"`
	Retry         string  `json:"r"`
	Start         int64   `json:"so"`
	Queue         int32   `json:"q"`
	Revive        int32   `json:"rq"`
	PopTime       int64   `json:"pt"`
	Invisible     int64   `json:"it"`
	Bits          bitSet  `json:"b"`
	LongGroup     string  `json:"consumerGroup"`
	LongTopic     string  `json:"topic"`
	LongRetry     string  `json:"retry"`
	LongStart     int64   `json:"startOffset"`
	LongQueue     int32   `json:"queueId"`
	LongRevive    int32   `json:"reviveQueueId"`
	LongPopTime   int64   `json:"popTime"`
	LongInvisible int64   `json:"invisibleTime"`
	LongBits      *bitSet `json:"bitSet"`
}

// settle takes the long names over.
func (a *batchAck) settle() {
	if a.Group != "" {
		return
	}
	a.Group, a.Topic, a.Retry, a.Start, a.Queue = a.LongGroup, a.LongTopic, a.LongRetry, a.LongStart, a.LongQueue
	a.Revive, a.PopTime, a.Invisible = a.LongRevive, a.LongPopTime, a.LongInvisible
	if a.LongBits != nil {
		a.Bits = *a.LongBits
	}
}

// bitSet is Java's BitSet: bytes, lowest bit first; in JSON base64 or a list of
// numbers.
type bitSet []byte

// UnmarshalJSON takes both forms.
func (b *bitSet) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		set, err := base64.StdEncoding.DecodeString(text)
		*b = set
		return err
	}
	var list []int16
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	*b = (*b)[:0]
	for _, v := range list {
		*b = append(*b, byte(v))
	}
	return nil
}

// Limits of one batch of acks.
const (
	maxBatchAcks  = 4096
	maxBatchBytes = 8192 // of one bit set
)

// 200151 BATCH_ACK_MESSAGE (3543): end many deliveries.
//
// Versions: 5.1 on; proxies only.
//
// Behaviours: each entry has a first offset and the bits of those after it. An
// entry that is expired is passed over: 0 all the same, 208 where the body
// names nothing.
func (f *Front) batchAckMessage(_ *session, req *wire.Command) (*wire.Command, error) {
	var body struct {
		Broker string     `json:"brokerName"`
		Acks   []batchAck `json:"acks"`
	}
	if err := fromJSON(req, &body); err != nil {
		return nil, err
	}
	if len(body.Acks) == 0 {
		return nil, refused(wire.NoMessage, "batch of acks is empty")
	}
	if len(body.Acks) > maxBatchAcks {
		return nil, refused(wire.InvalidParameter, "batch of %d acks, want at most %d", len(body.Acks), maxBatchAcks)
	}
	var errs []error
	for i := range body.Acks {
		a := &body.Acks[i]
		if a.settle(); len(a.Bits) > maxBatchBytes {
			return nil, refused(wire.InvalidParameter, "ack %d of the batch has %d bytes of bits, want at most %d", i, len(a.Bits), maxBatchBytes)
		}
		if err := f.ackBits(a, body.Broker); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return ok()
}

func (f *Front) ackBits(a *batchAck, brokerName string) error {
	if brokerName == "" {
		brokerName = f.broker.Config().Broker
	}
	retry, err := strconv.Atoi(a.Retry)
	if err != nil && a.Retry != "" {
		return fmt.Errorf("%w: kind of topic %q in a batch of acks", broker.ErrBadRequest, a.Retry)
	}
	text := fmt.Sprintf("%d %d %d %d %d %s %d %d", a.Start, a.PopTime, a.Invisible, a.Revive, retry, brokerName, a.Queue, a.Start)
	h, err := broker.ParseHandle(a.Group, a.Topic, text)
	if err != nil {
		return err
	}
	for i, b := range a.Bits {
		for ; b != 0; b &= b - 1 {
			h.Offset = a.Start + int64(8*i+bits.TrailingZeros8(b))
			if err := f.broker.AckOne(a.Group, &h); err != nil && !errors.Is(err, broker.ErrHandleExpired) {
				return err
			}
		}
	}
	return nil
}
