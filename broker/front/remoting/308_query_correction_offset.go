package remoting

import (
	"strings"

	wire "varve/internal/remoting"
)

// 308 QUERY_CORRECTION_OFFSET: the lowest progress of a topic's groups, queue
// by queue.
//
// Versions: all.
//
// Behaviours: the groups in filterGroups, parted by commas, are left out; a
// queue in which compareGroup is behind that progress gets the largest number.
func (f *Front) queryCorrectionOffset(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	topic, compare, filter := p.Str("topic"), p.OptStr("compareGroup"), p.OptStr("filterGroups")
	if err := p.Err(); err != nil {
		return nil, err
	}
	except := map[string]bool{}
	for g := range strings.SplitSeq(filter, ",") {
		except[strings.TrimSpace(g)] = true
	}
	return withJSON(struct {
		Offsets map[int32]int64 `json:"correctionOffsets"`
	}{f.broker.LowestOffsets(topic, except, compare)})
}
