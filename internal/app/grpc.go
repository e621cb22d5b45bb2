package app

import (
	"context"
	"fmt"
	"net/netip"

	"varve/broker/front/grpc"
)

// openGRPC makes the broker's front for gRPC clients.
func (n *Node) openGRPC(context.Context) error {
	if n.broker == nil {
		return nil
	}
	g := n.cfg.GRPC
	own, err := netip.ParseAddrPort(n.ports.grpc.Addr().String())
	if err != nil {
		return fmt.Errorf("address of grpc.listen: %w", err)
	}
	n.grpc, err = grpc.New(n.broker, grpc.Config{
		Advertise: g.Advertise, Listen: own, MaxConns: g.Connections, Logger: n.log,
		TLS: n.tls, TLSOnly: n.tlsOnly(), Auth: n.auth, Backlog: n.unread,
	})
	if err != nil {
		return fmt.Errorf("start the gRPC front: %w", err)
	}
	n.onRun("gRPC port", func(ctx context.Context) error { return n.grpc.Serve(ctx, n.ports.grpc) })
	return nil
}
