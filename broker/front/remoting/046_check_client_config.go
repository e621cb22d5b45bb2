package remoting

import wire "varve/internal/remoting"

// 46 CHECK_CLIENT_CONFIG: would this subscription's expression do?
//
// Versions: Java from 4.1 on, before a consumer with SQL92 starts.
//
// Behaviours: 23 with the reason where the expression doesn't parse.
func (f *Front) checkClientConfig(_ *session, req *wire.Command) (*wire.Command, error) {
	var body struct {
		Subscription *subscription `json:"subscriptionData"`
	}
	if err := fromJSON(req, &body); err != nil {
		return nil, err
	}
	if sub := body.Subscription; sub != nil {
		if err := f.broker.CheckFilter(sub.Type, sub.Expression); err != nil {
			return nil, err
		}
	}
	return ok()
}
