package grpc

import (
	"context"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

// NotifyClientTermination is a client's goodbye: it leaves its groups, and what
// was renewed for it goes to others.
func (f *Front) NotifyClientTermination(ctx context.Context, req *v2.NotifyClientTerminationRequest) (*v2.NotifyClientTerminationResponse, error) {
	who, err := f.admit(ctx, req)
	if err == nil {
		if c := f.clients.get(who.id); c.current() != nil {
			f.leave(c)
		} else {
			err = refused(v2.Code_UNRECOGNIZED_CLIENT_TYPE, "no settings of client %q are known", who.id)
		}
	}
	return &v2.NotifyClientTerminationResponse{Status: f.status("NotifyClientTermination", err)}, nil
}
