package remoting

import (
	"time"

	wire "varve/internal/remoting"
)

// producerInfo is RocketMQ's ProducerInfo in JSON.
type producerInfo struct {
	ClientID   string `json:"clientId"`
	RemoteIP   string `json:"remoteIP"`
	Language   string `json:"language"`
	Version    int    `json:"version"`
	LastUpdate int64  `json:"lastUpdateTimestamp"`
}

// 328 GET_ALL_PRODUCER_INFO: the clients of every producer group.
//
// Versions: 5.0 on.
func (f *Front) getAllProducerInfo(*session, *wire.Command) (*wire.Command, error) {
	data := map[string][]producerInfo{}
	for _, name := range f.broker.ProducerGroups() {
		ms, err := f.broker.Producers(name)
		if err != nil {
			continue // left meanwhile
		}
		for _, m := range ms {
			data[name] = append(data[name], producerInfo{
				m.ClientID, m.Client.RemoteAddr().Addr().String(), m.Language, m.Version, m.LastBeat.UnixNano() / int64(time.Millisecond),
			})
		}
	}
	return withJSON(struct {
		Data map[string][]producerInfo `json:"data"`
	}{data})
}
