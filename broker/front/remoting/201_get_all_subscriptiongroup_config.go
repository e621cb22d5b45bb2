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
	for _, g := range f.broker.Groups() {
		table[g.Name] = g
	}
	return withJSON(struct {
		DataVersion dataVersion              `json:"dataVersion"`
		Forbidden   map[string]struct{}      `json:"forbiddenTable"`
		Groups      map[string]*broker.Group `json:"subscriptionGroupTable"`
	}{dataVersion{Counter: int64(len(table))}, map[string]struct{}{}, table})
}
