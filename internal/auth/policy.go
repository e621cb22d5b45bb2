package auth

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Policy types, RocketMQ's: entries of the second count only where none of the
// first matches.
const (
	Custom  = "Custom"
	Default = "Default"
)

// Decisions of an entry.
const (
	Allow = "Allow"
	Deny  = "Deny"
)

// ACL is the policies of one subject. The JSON names are RocketMQ's.
type ACL struct {
	Subject  string   `json:"subject"` // "User:alice"
	Policies []Policy `json:"policies"`
}

// Policy is the entries of one type.
type Policy struct {
	Type    string  `json:"policyType"` // Custom where empty
	Entries []Entry `json:"entries"`
}

// Entry is one rule.
type Entry struct {
	Resource  string   `json:"resource"` // "Topic:orders", "Topic:order*", "Group:*", "Cluster:*", "Namespace:acme", "*"
	Actions   []string `json:"actions"`
	SourceIPs []string `json:"sourceIps,omitempty"` // addresses and CIDR ranges; none is everywhere
	Decision  string   `json:"decision"`
}

const userPrefix = "User:"

// Subject is the subject of a user's policies.
func Subject(user string) string { return userPrefix + user }

// parseSubject gives the user of "User:alice".
func parseSubject(s string) (user string, err error) {
	kind, name, found := strings.Cut(strings.TrimSpace(s), ":")
	if !found || !strings.EqualFold(kind, "User") || name == "" {
		return "", fmt.Errorf("subject %q is not User:NAME", s)
	}
	return name, nil
}

// rule is an entry made ready for decisions.
type rule struct {
	pattern pattern
	actions Action
	sources []netip.Prefix
	deny    bool
	second  bool // of the Default policy
}

func (e *Entry) compile() (rule, error) {
	p, err := parsePattern(e.Resource)
	if err != nil {
		return rule{}, err
	}
	r := rule{pattern: p}
	for _, name := range e.Actions {
		a, err := ParseAction(name)
		if err != nil {
			return r, fmt.Errorf("%s: %w", p, err)
		}
		r.actions |= a
	}
	if r.actions == 0 {
		return r, fmt.Errorf("%s: no action", p)
	}
	for _, s := range e.SourceIPs {
		source, err := parseSource(s)
		if err != nil {
			return r, fmt.Errorf("%s: %w", p, err)
		}
		r.sources = append(r.sources, source)
	}
	switch {
	case strings.EqualFold(e.Decision, Allow):
	case strings.EqualFold(e.Decision, Deny):
		r.deny = true
	default:
		return r, fmt.Errorf("%s: decision %q is neither Allow nor Deny", p, e.Decision)
	}
	return r, nil
}

func parseSource(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("source %q is neither an address nor a range such as 10.0.0.0/8", s)
	}
	return p.Masked(), nil
}

func (r *rule) matches(res Resource, a Action, ip netip.Addr) bool {
	if r.actions&a == 0 || !r.pattern.matches(res) {
		return false
	}
	if len(r.sources) == 0 {
		return true
	}
	for _, p := range r.sources {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// compile gives the rules of an ACL in the order in which they decide.
func (a *ACL) compile() ([]rule, error) {
	var out []rule
	for i := range a.Policies {
		p := &a.Policies[i]
		second := strings.EqualFold(p.Type, Default)
		if !second && p.Type != "" && !strings.EqualFold(p.Type, Custom) {
			return nil, fmt.Errorf("policy type %q is neither Custom nor Default", p.Type)
		}
		for k := range p.Entries {
			r, err := p.Entries[k].compile()
			if err != nil {
				return nil, err
			}
			r.second = second
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b rule) int {
		return cmp.Or(order(a.second, b.second), cmp.Compare(a.pattern.rank(), b.pattern.rank()), -order(a.deny, b.deny))
	})
	return out, nil
}

// order puts false before true.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// normal gives a checked ACL its usual spelling.
func (a ACL) normal() (ACL, error) {
	user, err := parseSubject(a.Subject)
	if err != nil {
		return a, err
	}
	if _, err := a.compile(); err != nil {
		return a, fmt.Errorf("policies of %s: %w", a.Subject, err)
	}
	out := ACL{Subject: Subject(user)}
	for _, p := range a.Policies {
		kind := Custom
		if strings.EqualFold(p.Type, Default) {
			kind = Default
		}
		for _, e := range p.Entries {
			out.put(kind, e.normal())
		}
	}
	return out, nil
}

// normal is the usual spelling of an entry that compiles.
func (e Entry) normal() Entry {
	p, _ := parsePattern(e.Resource)
	e.Resource = p.String()
	actions := make([]string, 0, len(e.Actions))
	for _, name := range e.Actions {
		a, _ := ParseAction(name)
		actions = append(actions, a.String())
	}
	e.Actions = actions
	e.SourceIPs = slices.Clone(e.SourceIPs)
	if strings.EqualFold(e.Decision, Deny) {
		e.Decision = Deny
	} else {
		e.Decision = Allow
	}
	return e
}

// put adds an entry, or replaces the one of the same resource.
func (a *ACL) put(kind string, e Entry) {
	i := slices.IndexFunc(a.Policies, func(p Policy) bool { return p.Type == kind })
	if i < 0 {
		a.Policies = append(a.Policies, Policy{Type: kind})
		i = len(a.Policies) - 1
	}
	entries := a.Policies[i].Entries
	if k := slices.IndexFunc(entries, func(have Entry) bool { return have.Resource == e.Resource }); k >= 0 {
		entries[k] = e
		return
	}
	a.Policies[i].Entries = append(entries, e)
}

// remove takes the entry of a resource out.
func (a *ACL) remove(kind, resource string) (had bool) {
	for i := range a.Policies {
		p := &a.Policies[i]
		if p.Type != kind {
			continue
		}
		n := len(p.Entries)
		p.Entries = slices.DeleteFunc(p.Entries, func(e Entry) bool { return e.Resource == resource })
		had = had || len(p.Entries) < n
	}
	a.Policies = slices.DeleteFunc(a.Policies, func(p Policy) bool { return len(p.Entries) == 0 })
	return had
}

// clone shares nothing with a.
func (a *ACL) clone() *ACL {
	out := &ACL{Subject: strings.Clone(a.Subject), Policies: slices.Clone(a.Policies)}
	for i := range out.Policies {
		p := &out.Policies[i]
		p.Entries = slices.Clone(p.Entries)
		for k := range p.Entries {
			e := &p.Entries[k]
			e.Resource, e.Actions, e.SourceIPs = strings.Clone(e.Resource), slices.Clone(e.Actions), slices.Clone(e.SourceIPs)
		}
	}
	return out
}
