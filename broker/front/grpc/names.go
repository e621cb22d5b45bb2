package grpc

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/internal/mq"
)

// nameOf is a resource's name as the broker knows it: a namespace stands before
// it, as in remoting.
func nameOf(r *v2.Resource) string {
	return mq.JoinTenant(r.GetResourceNamespace(), r.GetName())
}

// Limits of names.
const (
	maxTopicName = 127
	maxGroupName = 120
)

// topicOf is the topic that a call names, if it may name it.
func topicOf(r *v2.Resource) (string, error) {
	name := nameOf(r)
	if err := checkName("topic", name, maxTopicName); err != nil {
		return "", refused(v2.Code_ILLEGAL_TOPIC, "%v", err)
	}
	if mq.SystemTopic(name) {
		return "", refused(v2.Code_ILLEGAL_TOPIC, "topic %q is the broker's own", name)
	}
	return name, nil
}

// groupOf is the consumer group that a call names.
func groupOf(r *v2.Resource) (string, error) {
	name := nameOf(r)
	if err := checkName("consumer group", name, maxGroupName); err != nil {
		return "", refused(v2.Code_ILLEGAL_CONSUMER_GROUP, "%v", err)
	}
	return name, nil
}

// topicAndGroup is both.
func topicAndGroup(t, g *v2.Resource) (topic, group string, err error) {
	if topic, err = topicOf(t); err != nil {
		return "", "", err
	}
	group, err = groupOf(g)
	return topic, group, err
}

func checkName(what, name string, limit int) error {
	switch {
	case name == "":
		return fmt.Errorf("%s name is empty", what)
	case len(name) > limit:
		return fmt.Errorf("%s name of %d bytes is over the limit of %d", what, len(name), limit)
	}
	for i := range len(name) {
		b := name[i]
		if b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' ||
			b == '%' || b == '|' || b == '_' || b == '-' {
			continue
		}
		return fmt.Errorf("%s name %q has a character outside [%%|a-zA-Z0-9_-]", what, name)
	}
	return nil
}

// control reports whether a text has a control character, which would end a
// stored property.
func control(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

func blank(s string) bool { return s != "" && strings.TrimSpace(s) == "" }

// endpointsOf is host:port in the form of the protocol.
func endpointsOf(addr string) (*v2.Endpoints, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("gRPC address %q is not host:port", addr)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("gRPC address %q: port %q is not a number", addr, text)
	}
	scheme := v2.AddressScheme_DOMAIN_NAME
	if ip, err := netip.ParseAddr(host); err == nil {
		scheme = v2.AddressScheme_IPv4
		if ip.Is6() && !ip.Is4In6() {
			scheme = v2.AddressScheme_IPv6
		}
	}
	return &v2.Endpoints{Scheme: scheme, Addresses: []*v2.Address{{Host: host, Port: int32(port)}}}, nil
}

// endpoints is where a client is to find this broker: where it came by itself
// unless the settings say better. Of several addresses none is known to be
// this broker's alone.
func (f *Front) endpoints(asked *v2.Endpoints) *v2.Endpoints {
	if f.cfg.Advertise == "" && len(asked.GetAddresses()) == 1 {
		return asked
	}
	return f.own
}
