package auth

import (
	"crypto/hmac"
	"crypto/sha1"
	"fmt"
	"hash"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Identity is who a request is from.
type Identity struct {
	User  string
	Super bool
	via   protocol
}

// protocol is what a request came by.
type protocol uint8

const (
	viaNone protocol = iota // of an identity that no Verify gave
	viaRemoting
	viaGRPC
	viaHTTP
	protocols
)

var protocolNames = [protocols]string{"none", "remoting", "grpc", "http"}

// Caller is who a request is from, and from where.
type Caller struct {
	Identity
	IP netip.Addr
}

// Anybody is who every request is from while access control is off.
var Anybody = Identity{Super: true}

// principal is a user made ready for verification and decisions. It is never
// changed.
type principal struct {
	name   string
	secret []byte
	super  bool
	off    bool
	rules  []rule
	macs   sync.Pool // hash.Hash: HMAC-SHA1 keyed with secret
}

func newPrincipal(u *stored, secret []byte) *principal {
	p := &principal{name: u.Name, secret: secret, super: u.Super, off: u.Off}
	p.macs.New = func() any { return hmac.New(sha1.New, secret) }
	return p
}

// sign appends the HMAC of a text in two parts to dst.
func (p *principal) sign(dst, head, body []byte) []byte {
	h := p.macs.Get().(hash.Hash)
	h.Reset()
	h.Write(head)
	h.Write(body)
	dst = h.Sum(dst)
	p.macs.Put(h)
	return dst
}

func (p *principal) identity(via protocol) Identity {
	return Identity{User: p.name, Super: p.super, via: via}
}

// Allow reports whether a user may do one of the actions with every one of the
// resources. The error is ErrDenied and names what is missing.
func (s *Store) Allow(id Identity, ip netip.Addr, a Action, res ...Resource) error {
	if !s.Enabled() || id.Super {
		return nil
	}
	p := (*s.known.Load())[id.User]
	for _, r := range res {
		why := "no policy matches"
		if p != nil && !p.off {
			allowed, deny := p.decide(r, a, ip)
			if allowed {
				continue
			}
			if deny != nil {
				why = "denied by its policy for " + deny.pattern.String()
			}
		}
		s.denied[id.via].Add(1)
		err := fmt.Errorf("%w: User:%s has no permission to access %s (%s) from %s: %s", ErrDenied, id.User, r, a, ip, why)
		s.tell(err)
		return err
	}
	return nil
}

// AllowCaller is Allow for a Caller.
func (s *Store) AllowCaller(c Caller, a Action, res ...Resource) error {
	return s.Allow(c.Identity, c.IP, a, res...)
}

// Visible reports whether a user may read anything of a resource, without
// counting a refusal.
func (s *Store) Visible(id Identity, ip netip.Addr, a Action, r Resource) bool {
	if !s.Enabled() || id.Super {
		return true
	}
	p := (*s.known.Load())[id.User]
	if p == nil || p.off {
		return false
	}
	allowed, _ := p.decide(r, a, ip)
	return allowed
}

// Namespace is the namespace that all topics lie in that a user may do
// anything with, "" where they lie in several, or in none.
func (s *Store) Namespace(id Identity) string {
	if !s.Enabled() || id.Super {
		return ""
	}
	p := (*s.known.Load())[id.User]
	if p == nil {
		return ""
	}
	found := ""
	for _, r := range p.rules {
		name, ok := r.pattern.name, true
		switch {
		case r.deny, r.pattern.kind == KindCluster, r.pattern.kind == KindGroup:
			continue
		case r.pattern.kind == KindTopic:
			name, _, ok = strings.Cut(name, "%")
		case r.pattern.form != literal:
			ok = false
		}
		if !ok || name == "" || found != "" && found != name {
			return ""
		}
		found = name
	}
	return found
}

// decide gives the verdict of the first rule that matches.
func (p *principal) decide(r Resource, a Action, ip netip.Addr) (allowed bool, deny *rule) {
	ip = ip.Unmap().WithZone("")
	for i := range p.rules {
		if !p.rules[i].matches(r, a, ip) {
			continue
		}
		if p.rules[i].deny {
			return false, &p.rules[i]
		}
		return true, nil
	}
	return false, nil
}

// tellEvery is the least time between two refusals that are logged.
const tellEvery = time.Second

// tell logs a refusal, unless one was logged just now.
func (s *Store) tell(err error) {
	now, last := s.now().UnixNano(), s.told.Load()
	if now-last >= int64(tellEvery) && s.told.CompareAndSwap(last, now) {
		s.log.Warn("request refused", slog.Any("err", err),
			slog.Int64("unauthenticated", s.unknown.sum()), slog.Int64("denied", s.denied.sum()))
	}
}
