package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"varve/e2e/server"
)

// behind is how far above its usual ports a server listens that is recorded.
const behind = 20_000

// standBefore has the recorder listen where clients look for the server, and
// the server behind it.
func (c config) standBefore(o *server.Options) error {
	front := o.Addresses()
	back := front
	var errs []error
	for addr, record := range map[*string]func(listen, to string) error{
		&back.Route: c.recorder.Remoting, &back.Broker: c.recorder.Remoting, &back.History: c.recorder.Remoting, &back.GRPC: c.recorder.GRPC,
	} {
		host, port, _ := strings.Cut(*addr, ":")
		n, err := strconv.Atoi(port)
		if err != nil {
			return fmt.Errorf("port of %s: %w", *addr, err)
		}
		listen := *addr
		*addr = fmt.Sprintf("%s:%d", host, n+behind)
		errs = append(errs, record(listen, *addr))
	}
	o.Addrs = back
	o.Env = append([]string{"VARVE_BROKER_ADVERTISE=" + front.Broker, "VARVE_HISTORY_ADVERTISE=" + front.History}, o.Env...)
	return errors.Join(errs...)
}
