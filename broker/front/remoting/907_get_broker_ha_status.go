package remoting

import wire "varve/internal/remoting"

// 907 GET_BROKER_HA_STATUS: the followers of this broker and how far behind
// they are.
//
// Versions: 5.0 on.
//
// Behaviours: this broker is its group's leader and has no followers that copy
// the log.
func (f *Front) getBrokerHAStatus(*session, *wire.Command) (*wire.Command, error) {
	_, end, _ := f.broker.LogRange()
	return withJSON(struct {
		Master    bool       `json:"master"`
		End       int64      `json:"masterCommitLogMaxOffset"`
		InSync    int        `json:"inSyncSlaveNums"`
		Followers []struct{} `json:"haConnectionInfo"`
	}{true, end, 0, []struct{}{}})
}
