package grpc

import (
	"context"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

// Heartbeat says that a client is still there, every 10 s.
//
// Behaviours: a client that sent no settings is UNRECOGNIZED_CLIENT_TYPE, which
// tells it to send them again.
func (f *Front) Heartbeat(ctx context.Context, req *v2.HeartbeatRequest) (*v2.HeartbeatResponse, error) {
	return &v2.HeartbeatResponse{Status: f.status("Heartbeat", f.heartbeat(ctx, req))}, nil
}

func (f *Front) heartbeat(ctx context.Context, req *v2.HeartbeatRequest) error {
	who, err := f.admit(ctx, req)
	if err != nil {
		return err
	}
	c := f.clients.get(who.id)
	if c.current() == nil {
		return refused(v2.Code_UNRECOGNIZED_CLIENT_TYPE, "no settings of client %q are known", who.id)
	}
	c.alive(f.cfg.Now())
	return f.beat(ctx, c)
}
