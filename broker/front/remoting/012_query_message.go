package remoting

import (
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// Bounds of a query by key.
const (
	defaultQueryMax = 32
	maxQueryMax     = 256
	uniqueKeyQuery  = "_UNIQUE_KEY_QUERY"
)

// 12 QUERY_MESSAGE: find messages by key.
//
// Versions: all; the ext field _UNIQUE_KEY_QUERY came with 3.5, indexType (K
// key, U unique key, T tag) with 5.5.
//
// Behaviours: key is a word of KEYS or, with _UNIQUE_KEY_QUERY=true, the
// UNIQ_KEY; 22 where there is none. The time range is by store time, both ends
// included; for a unique key its start is not looked at, since clients reckon
// it from the key, whose time is known within a month only.
func (f *Front) queryMessage(s *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	k := mq.KeyQuery{
		Topic:      p.Str("topic"),
		Key:        p.Str("key"),
		Unique:     p.OptBool(uniqueKeyQuery),
		FromMillis: p.OptInt("beginTimestamp", 0),
		ToMillis:   p.OptInt("endTimestamp", 0),
		Max:        int(p.OptInt32("maxNum", defaultQueryMax)),
	}
	index := p.OptStr("indexType")
	if err := p.Err(); err != nil {
		return nil, err
	}
	switch index {
	case "", "K":
	case "U":
		k.Unique = true
	default:
		return nil, refused(wire.InvalidParameter, "messages are not indexed by %q: want K (key) or U (unique key)", index)
	}
	if k.Unique {
		k.FromMillis, k.Max = 0, defaultQueryMax
	}
	k.Max = min(max(k.Max, 1), maxQueryMax)
	batch, err := f.broker.QueryByKey(s.conn.Context(), k)
	if err != nil {
		return nil, err
	}
	if batch.Count == 0 {
		return nil, refused(wire.QueryNotFound, "can not find message, maybe time range not correct")
	}
	resp := &wire.Command{Body: mq.WithoutTenant(batch.Body, req.Namespace)}
	resp.Ext.SetInt("indexLastUpdateTimestamp", 0)
	resp.Ext.SetInt("indexLastUpdatePhyoffset", 0)
	return resp, nil
}
