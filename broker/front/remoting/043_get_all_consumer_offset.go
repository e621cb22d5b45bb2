package remoting

import wire "varve/internal/remoting"

// 43 GET_ALL_CONSUMER_OFFSET: every group's progress in every topic.
//
// Versions: all.
//
// Behaviours: the tables' keys are topic@group.
func (f *Front) getAllConsumerOffset(*session, *wire.Command) (*wire.Command, error) {
	type table map[string]map[int32]int64
	offsets, pulled := table{}, table{}
	for _, p := range f.broker.AllProgress() {
		key := p.Topic + "@" + p.Group
		offsets[key] = p.Offsets
		if len(p.Pulled) > 0 {
			pulled[key] = p.Pulled
		}
	}
	return withJSON(struct {
		DataVersion dataVersion `json:"dataVersion"`
		Offsets     table       `json:"offsetTable"`
		Pulled      table       `json:"pullOffsetTable"`
	}{dataVersion{}, offsets, pulled})
}
