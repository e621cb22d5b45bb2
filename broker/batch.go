package broker

import (
	"encoding/binary"
	"fmt"
	"strings"

	"varve/broker/topic"
	"varve/internal/mq"
)

// Limits of a batch.
const (
	maxBatchMessages = 65536
	// batchHead is an element without body and properties: length, magic,
	// checksum, flag, body length, properties length.
	batchHead = 4 + 4 + 4 + 4 + 4 + 2
)

// prepareBatch fills s with the messages of a batch: they go to one queue, and
// each gets the request's own properties after those that it brings.
func (b *Broker) prepareBatch(s *sending, req *SendRequest, t *Topic, queue int32) error {
	if strings.HasPrefix(t.Name, mq.RetryPrefix) {
		return fmt.Errorf("%w: a batch can't go to the retry topic %q", ErrIllegalMessage, t.Name)
	}
	common, csp := carryOver(nil, req.Message.Properties)
	if csp.uniqKey != nil {
		common = mq.RemoveProperty(common, mq.PropUniqKey)
	}
	if csp.delayLevel > 0 || csp.timer || csp.transaction {
		return fmt.Errorf("%w: a batch can't be delayed or a transaction", ErrIllegalMessage)
	}
	n, err := countBatch(req.Message.Body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIllegalMessage, err)
	}
	slab := make([]mq.Message, n)
	body := req.Message.Body
	for i := range slab {
		m := &slab[i]
		*m = req.Message
		m.Topic, m.QueueID = t.Name, queue
		if t.FilterType == topic.MultiTag {
			m.SysFlag |= mq.SysMultiTags
		}
		var props []byte
		m.Flag, m.Body, props, body = nextInBatch(body)
		start := len(s.props)
		var sp special
		s.props, sp = carryOver(s.props, props)
		if sp.delayLevel > 0 || sp.timer || sp.transaction {
			return fmt.Errorf("%w: message %d of the batch is delayed or a transaction", ErrIllegalMessage, i)
		}
		sp.sharded = sp.sharded || csp.sharded
		if err := b.checkType(req, t, &sp); err != nil {
			return fmt.Errorf("message %d of the batch: %w", i, err)
		}
		s.props = append(s.props, common...)
		if err := b.stage(s, m, &sp, start); err != nil {
			return fmt.Errorf("message %d of the batch: %w", i, err)
		}
	}
	return nil
}

// countBatch checks the whole of a batch's body and counts its messages.
func countBatch(body []byte) (n int, err error) {
	for at := 0; at < len(body); n++ {
		rest := body[at:]
		if len(rest) < batchHead || n == maxBatchMessages {
			return 0, fmt.Errorf("batch is broken at byte %d of %d (message %d)", at, len(body), n)
		}
		size := int(int32(binary.BigEndian.Uint32(rest)))
		bodyLen := int(int32(binary.BigEndian.Uint32(rest[16:])))
		if size < batchHead || size > len(rest) || bodyLen < 0 || bodyLen > size-batchHead {
			return 0, fmt.Errorf("batch is broken at byte %d of %d: message %d says %d bytes with a body of %d", at, len(body), n, size, bodyLen)
		}
		if props := int(binary.BigEndian.Uint16(rest[20+bodyLen:])); batchHead+bodyLen+props != size {
			return 0, fmt.Errorf("batch is broken at byte %d of %d: message %d has properties of %d bytes and %d are left", at, len(body), n, props, size-batchHead-bodyLen)
		}
		at += size
	}
	if n == 0 {
		return 0, fmt.Errorf("batch is empty")
	}
	return n, nil
}

// nextInBatch parts the first message off a body that countBatch took.
func nextInBatch(b []byte) (flag int32, body, props, rest []byte) {
	size := binary.BigEndian.Uint32(b)
	flag = int32(binary.BigEndian.Uint32(b[12:]))
	end := 20 + binary.BigEndian.Uint32(b[16:])
	return flag, b[20:end:end], b[end+2 : size : size], b[size:]
}
