package app

import (
	"context"

	mqhttp "varve/broker/front/http"
)

// openMQHTTP makes the broker's front for the HTTP SDKs.
func (n *Node) openMQHTTP(context.Context) error {
	if n.broker == nil {
		return nil
	}
	h := n.cfg.MQHTTP
	n.mqhttp = mqhttp.New(n.broker, mqhttp.Config{
		Invisible: h.Invisible, InvisibleOrdered: h.InvisibleOrdered, CheckInterval: n.cfg.Transactions.CheckInterval,
		MaxConns: h.Connections, Logger: n.log, TLS: n.tls, TLSOnly: n.tlsOnly(), Auth: n.auth,
		Backlog: n.unread,
	})
	n.onRun("port for HTTP SDKs", func(ctx context.Context) error { return n.mqhttp.Serve(ctx, n.ports.mqhttp) })
	return nil
}
