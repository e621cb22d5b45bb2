package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"varve/internal/config"
)

// listen takes a port; the error says which key to change.
func listen(ctx context.Context, key, addr string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err == nil {
		return ln, nil
	}
	reason := fmt.Sprintf("cannot listen on %s: %v", addr, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		reason = fmt.Sprintf("%s is in use by another process; stop it, or set %s to another address", addr, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		reason = fmt.Sprintf("%s is not an address of this machine", addr)
	case errors.Is(err, syscall.EACCES):
		reason = fmt.Sprintf("this user may not listen on %s", addr)
	}
	return nil, &config.Error{Key: key, Reason: reason}
}

// ports is every listener of a process; nil where a role isn't run.
type ports struct{ route, broker, vip, grpc, mqhttp, history, http net.Listener }

// listenAll takes every port or none.
func listenAll(ctx context.Context, c *config.Config, log *slog.Logger) (*ports, error) {
	p := &ports{}
	into := map[string]*net.Listener{
		"route.listen": &p.route, "broker.listen": &p.broker, "grpc.listen": &p.grpc,
		"mqhttp.listen": &p.mqhttp, "history.listen": &p.history, "http.listen": &p.http,
	}
	for _, l := range c.Listens() {
		ln, err := listen(ctx, l.Key, l.Addr)
		if err != nil {
			p.close()
			return nil, err
		}
		*into[l.Key] = ln
	}
	if c.Has(config.RoleBroker) && c.Broker.VIP {
		p.vip = listenVIP(ctx, c, log)
	}
	return p, nil
}

// vipBelow is how far below the broker's port clients up to 4.4 look for
// another one, which they use first.
const vipBelow = 2

// listenVIP takes that port. Newer clients never use it, so one that is taken
// is no reason not to start: nil then, and where the broker's own port is not
// chosen by the settings.
func listenVIP(ctx context.Context, c *config.Config, log *slog.Logger) net.Listener {
	host, text, err := net.SplitHostPort(c.Broker.Listen)
	if err != nil {
		return nil
	}
	port, err := strconv.Atoi(text)
	if err != nil || port <= vipBelow {
		return nil
	}
	addr := net.JoinHostPort(host, strconv.Itoa(port-vipBelow))
	ln, err := listen(ctx, "broker.vip", addr)
	if own := c.ListenerOf(addr); err != nil && own != "" {
		err = &config.Error{Key: "broker.vip", Reason: fmt.Sprintf("%s, two ports below broker.listen, is what %s listens on: give one of them another port", addr, own)}
	}
	if err != nil {
		log.Warn("no VIP port: clients up to RocketMQ 4.4 try it first; set broker.vip to false where there are none", slog.Any("err", err))
		return nil
	}
	return ln
}

func (p *ports) all() map[string]net.Listener {
	out := map[string]net.Listener{}
	for name, ln := range map[string]net.Listener{"route": p.route, "broker": p.broker, "vip": p.vip, "grpc": p.grpc, "mqhttp": p.mqhttp, "history": p.history, "http": p.http} {
		if ln != nil {
			out[name] = ln
		}
	}
	return out
}

func (p *ports) close() {
	for _, ln := range p.all() {
		_ = ln.Close()
	}
}

// advertised is the address that clients are told: the configured one, or
// where the listener is. A listener on every address needs a configured one.
func advertised(key, configured string, ln net.Listener) (netip.AddrPort, error) {
	if configured == "" {
		a, err := netip.ParseAddrPort(ln.Addr().String())
		if err != nil {
			return a, fmt.Errorf("address of %s: %w", key, err)
		}
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if a.Addr().IsUnspecified() {
			return a, &config.Error{Key: key, Reason: "the server listens on every address: say which one clients are to use"}
		}
		return a, nil
	}
	ap, err := net.ResolveTCPAddr("tcp", configured)
	if err != nil {
		return netip.AddrPort{}, &config.Error{Key: key, Reason: fmt.Sprintf("%q: %v", configured, err)}
	}
	a := ap.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}
