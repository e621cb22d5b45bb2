package remoting

import (
	"strings"

	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// 29 SEARCH_OFFSET_BY_TIMESTAMP: an offset by store time.
//
// Versions: all; boundaryType came with 5.0.
//
// Behaviours: exact over hot and archived messages. LOWER (the default) is the
// first message at or after the time, the end of the queue where there is
// none; UPPER the last one at or before it.
func (f *Front) searchOffsetByTimestamp(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic, queue, millis := p.Str("topic"), p.Int32("queueId"), p.Int("timestamp")
	bound := mq.Lower
	if strings.EqualFold(p.OptStr("boundaryType"), "UPPER") {
		bound = mq.Upper
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	off, err := f.broker.SearchOffset(s.conn.Context(), topic, queue, millis, bound)
	if err != nil {
		return nil, err
	}
	return withOffset(off)
}
