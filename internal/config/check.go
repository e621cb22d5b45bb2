package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// check validates what no type can.
func (l *Loaded) check(sources map[string]string) error {
	bad := func(key, format string, args ...any) error {
		return &Error{Key: key, Source: sources[key], Reason: fmt.Sprintf(format, args...)}
	}
	c := &l.Config
	if len(c.Roles) == 0 {
		return bad("roles", "no role; known are %s", strings.Join(AllRoles, ", "))
	}
	for i, r := range c.Roles {
		c.Roles[i] = strings.TrimSpace(r)
		if !slices.Contains(AllRoles, c.Roles[i]) {
			return bad("roles", "unknown role %q; known are %s", r, strings.Join(AllRoles, ", "))
		}
	}
	if c.Has(RoleConnector) && !c.Has(RoleBroker) {
		return bad("roles", "the connector follows the log of a broker: run both in one process")
	}
	if c.DataDir == "" {
		return bad("data-dir", "empty")
	}
	for key, n := range map[string]string{"cluster": c.Cluster, "broker.name": c.Broker.Name} {
		if err := name(n); err != nil {
			return bad(key, "%v", err)
		}
	}
	if err := c.checkListens(bad); err != nil {
		return err
	}
	for key, addr := range map[string]string{"broker.advertise": c.Broker.Advertise, "grpc.advertise": c.GRPC.Advertise, "history.advertise": c.History.Advertise} {
		if addr == "" {
			continue
		}
		if err := address(addr); err != nil {
			return bad(key, "%v", err)
		}
	}
	for _, w := range []struct{ key, val, allowed string }{
		{"broker.check-types", c.Broker.CheckTypes, "grpc all none"},
		{"hot.flush", c.Hot.Flush, "async sync"},
		{"archive.kind", c.Archive.Kind, "dir s3"},
		{"tls.mode", c.TLS.Mode, "disabled permissive enforcing"},
		{"log.level", c.Log.Level, "debug info warn error"},
		{"log.format", c.Log.Format, "text json"},
	} {
		if !slices.Contains(strings.Fields(w.allowed), w.val) {
			return bad(w.key, "%q is none of %s", w.val, strings.Join(strings.Fields(w.allowed), ", "))
		}
	}
	if c.Archive.Kind == "s3" {
		if c.Archive.S3.Endpoint == "" {
			return bad("archive.s3.endpoint", "an s3 archive needs an endpoint")
		}
		if c.Archive.S3.Bucket == "" {
			return bad("archive.s3.bucket", "an s3 archive needs a bucket")
		}
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return bad("tls.cert", "a certificate and its key (tls.key) come together")
	}
	if (c.Auth.SuperUser == "") != (c.Auth.SuperSecretKey == "") {
		return bad("auth.super-user", "it and auth.super-secret-key come together")
	}
	if (c.Auth.AccessKey == "") != (c.Auth.SecretKey == "") {
		return bad("auth.access-key", "it and auth.secret-key come together")
	}
	return l.checkBounds(bad)
}

func (l *Loaded) checkBounds(bad func(key, format string, args ...any) error) error {
	c := &l.Config
	for _, b := range []struct {
		key         string
		val, lo, hi int64
	}{
		{"broker.default-queues", int64(c.Broker.DefaultQueues), 1, 1024},
		{"broker.pull-messages", int64(c.Broker.PullMessages), 1, 1024},
		{"broker.connections", int64(c.Broker.Connections), 1, 1 << 20},
		{"broker.pop-queue", int64(c.Broker.PopQueue), 32, 1 << 20},
		{"broker.pop-group", int64(c.Broker.PopGroup), 32, 1 << 26},
		{"grpc.connections", int64(c.GRPC.Connections), 1, 1 << 20},
		{"http.connections", int64(c.HTTP.Connections), 1, 1 << 20},
		{"mqhttp.connections", int64(c.MQHTTP.Connections), 1, 1 << 20},
		{"history.broker-id", int64(c.History.BrokerID), 1, 1 << 30},
		{"query.rows", c.Query.Rows, 1, 1 << 40},
		{"query.concurrency", int64(c.Query.Concurrency), 1, 256},
		{"memory.gc-percent", int64(c.Memory.GC), 5, 1000},
	} {
		if b.val < b.lo || b.val > b.hi {
			return bad(b.key, "%d is not between %d and %d", b.val, b.lo, b.hi)
		}
	}
	for _, b := range []struct {
		key         string
		val, lo, hi Bytes
	}{
		{"broker.max-message", c.Broker.MaxMessage, 1 << 10, 4 << 20},
		{"hot.segment", c.Hot.Segment, 8 << 20, 2 << 30},
		{"hot.min-free", c.Hot.MinFree, 16 << 20, 1 << 50}, // the indexes need some of it
		{"hot.max-pending", c.Hot.MaxPending, 8 << 20, 1 << 33},
		{"connector.roll-bytes", c.Connector.RollBytes, 64 << 10, 4 << 30},
		{"compaction.full-bytes", c.Compaction.FullBytes, 64 << 10, 2 << 30},
		{"compaction.bandwidth", c.Compaction.Bandwidth, 0, 1 << 40},
		{"connector.memory", c.Connector.Memory, 16 << 20, 1 << 40},
		{"query.memory", c.Query.Memory, 64 << 20, 1 << 44},
		{"memory.limit", c.Memory.Limit, 64 << 20, 1 << 44},
		{"memory.floor", c.Memory.Floor, 0, 1 << 34},
	} {
		if b.key == "memory.limit" && b.val == 0 {
			continue
		}
		if b.val < b.lo || b.val > b.hi {
			return bad(b.key, "%s is not between %s and %s", b.val, b.lo, b.hi)
		}
	}
	for _, d := range []struct {
		key string
		val int64
	}{
		{"hot.flush-interval", int64(c.Hot.FlushInterval)},
		{"hot.trim-interval", int64(c.Hot.TrimInterval)},
		{"mqhttp.invisible", int64(c.MQHTTP.Invisible)},
		{"mqhttp.invisible-ordered", int64(c.MQHTTP.InvisibleOrdered)},
		{"connector.roll-age", int64(c.Connector.RollAge)},
		{"archive.timeout", int64(c.Archive.Timeout)},
		{"query.timeout", int64(c.Query.Timeout)},
		{"retention.interval", int64(c.Retention.Interval)},
		{"compaction.interval", int64(c.Compaction.Interval)},
		{"retention.sweep", int64(c.Retention.Sweep)},
		{"backup.every", int64(c.Backup.Every)},
		{"transactions.timeout", int64(c.Transactions.Timeout)},
		{"transactions.check-interval", int64(c.Transactions.CheckInterval)},
		{"transactions.max-checks", int64(c.Transactions.MaxChecks)},
		{"transactions.max-age", int64(c.Transactions.MaxAge)},
		{"transactions.keep-given-up", int64(c.Transactions.KeepGivenUp)},
		{"transactions.max-per-topic", int64(c.Transactions.MaxPerTopic)},
	} {
		if d.val <= 0 {
			return bad(d.key, "must be more than nothing")
		}
	}
	switch {
	case c.Compaction.Span < time.Minute:
		return bad("compaction.span", "%s is less than a minute", c.Compaction.Span)
	case c.Compaction.ShareAfter < 0:
		return bad("compaction.share-after", "must not be negative")
	case c.Compaction.Settle < 0:
		return bad("compaction.settle", "must not be negative")
	case c.Compaction.CPU < 1 || c.Compaction.CPU > 100:
		return bad("compaction.cpu", "%d is not between 1 and 100", c.Compaction.CPU)
	}
	if c.Broker.MaxDelay < 0 {
		return bad("broker.max-delay", "must not be negative; 0 is no bound")
	}
	return nil
}

// Listen is a port that a process takes.
type Listen struct{ Key, Addr string }

// Listens gives the ports of the roles that are run.
func (c *Config) Listens() []Listen {
	out := []Listen{}
	for _, l := range []struct {
		role string
		Listen
	}{
		{RoleRoute, Listen{"route.listen", c.Route.Listen}},
		{RoleBroker, Listen{"broker.listen", c.Broker.Listen}},
		{RoleBroker, Listen{"grpc.listen", c.GRPC.Listen}},
		{RoleBroker, Listen{"mqhttp.listen", c.MQHTTP.Listen}},
		{RoleHistory, Listen{"history.listen", c.History.Listen}},
		{"", Listen{"http.listen", c.HTTP.Listen}},
	} {
		if l.role == "" || c.Has(l.role) {
			out = append(out, l.Listen)
		}
	}
	return out
}

// checkListens looks at every listen address, and that none is given twice to
// the roles that are run.
func (c *Config) checkListens(bad func(key, format string, args ...any) error) error {
	every := *c
	every.Roles = AllRoles
	for _, l := range every.Listens() {
		if err := address(l.Addr); err != nil {
			return bad(l.Key, "%v", err)
		}
	}
	used := c.Listens()
	for i, l := range used {
		for _, other := range used[:i] {
			if overlap(l.Addr, other.Addr) {
				return bad(l.Key, "%s is what %s listens on (%s): give each an address of its own", l.Addr, other.Key, other.Addr)
			}
		}
	}
	return nil
}

// ListenerOf is the key of the port of this process that an address is, or that
// can't be listened on beside it; "" where there is none.
func (c *Config) ListenerOf(addr string) string {
	for _, l := range c.Listens() {
		if overlap(l.Addr, addr) {
			return l.Key
		}
	}
	return ""
}

// overlap reports whether two addresses can't be listened on at once. Port 0 is
// any that is free.
func overlap(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	nA, _ := strconv.Atoi(portA)
	nB, _ := strconv.Atoi(portB)
	every := func(host string) bool { ip := net.ParseIP(host); return host == "" || ip != nil && ip.IsUnspecified() }
	return nA == nB && nA != 0 && (strings.EqualFold(hostA, hostB) || every(hostA) || every(hostB))
}

// maxName is RocketMQ's bound of a topic's name: each of these names is one too.
const maxName = 127

// name checks a name that clients see and that is part of objects' names in the
// archive.
func name(s string) error {
	switch {
	case s == "":
		return errors.New("empty")
	case len(s) > maxName:
		return fmt.Errorf("a name of %d bytes is over the limit of %d", len(s), maxName)
	case s[0] == '.':
		return fmt.Errorf("%q begins with a dot", s)
	}
	for _, r := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return fmt.Errorf("%q has the character %q; a name is of letters a to z and A to Z, digits, dots, - and _", s, r)
		}
	}
	return nil
}

func address(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not host:port", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	return nil
}
