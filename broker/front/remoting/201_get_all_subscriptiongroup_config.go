package remoting

import (
	"varve/broker"
	wire "varve/internal/remoting"
)

// 201 GET_ALL_SUBSCRIPTIONGROUP_CONFIG: every consumer group's settings.
//
// Versions: all.
func (f *Front) getAllGroupConfig(*session, *wire.Command) (*wire.Command, error) {
	table := map[string]*broker.Group{}
	groups := f.broker.Groups()
	for _, g := range groups {
		table[g.Name] = g
	}
	return withJSON(struct {
		DataVersion dataVersion               `json:"dataVersion"`
		Forbidden   map[string]map[string]int `json:"forbiddenTable"`
		Groups      map[string]*broker.Group  `json:"subscriptionGroupTable"`
	}{dataVersion{Counter: int64(len(table))}, forbiddenTable(groups), table})
}
