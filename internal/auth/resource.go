package auth

import (
	"fmt"
	"strings"

	"varve/internal/mq"
)

// Action is one thing to do with a resource, or several of which one is enough.
type Action uint16

// Actions, by RocketMQ's names.
const (
	Pub Action = 1 << iota
	Sub
	Create
	Update
	Delete
	Get
	List
	// All is every action.
	All = Pub | Sub | Create | Update | Delete | Get | List
)

var actionNames = []struct {
	action Action
	name   string
}{
	{All, "All"}, {Pub, "Pub"}, {Sub, "Sub"}, {Create, "Create"}, {Update, "Update"}, {Delete, "Delete"}, {Get, "Get"}, {List, "List"},
}

// String joins the actions' names with "|".
func (a Action) String() string {
	if a == All {
		return "All"
	}
	var out []string
	for _, n := range actionNames[1:] {
		if a&n.action != 0 {
			out = append(out, n.name)
		}
	}
	return strings.Join(out, "|")
}

// ParseAction reads one action's name; case doesn't matter.
func ParseAction(name string) (Action, error) {
	for _, n := range actionNames {
		if strings.EqualFold(strings.TrimSpace(name), n.name) {
			return n.action, nil
		}
	}
	return 0, fmt.Errorf("action %q is none of All, Pub, Sub, Create, Update, Delete, Get, List", name)
}

// Kind is what a resource is.
type Kind uint8

// Kinds. A policy may name a namespace, which stands for all topics and groups
// of it; requests are about clusters, topics and groups.
const (
	KindAny Kind = iota + 1
	KindCluster
	KindNamespace
	KindTopic
	KindGroup
)

var kindNames = map[Kind]string{KindCluster: "Cluster", KindNamespace: "Namespace", KindTopic: "Topic", KindGroup: "Group"}

// Resource is what a request is about, by its name on the wire.
type Resource struct {
	Kind Kind
	Name string
}

// Topic is a topic; a retry topic stands for its group.
func Topic(name string) Resource {
	if strings.HasPrefix(name, mq.RetryPrefix) {
		return Group(name)
	}
	return Resource{KindTopic, name}
}

// Group is a group, by its name or that of its retry topic.
func Group(name string) Resource {
	return Resource{KindGroup, strings.TrimPrefix(name, mq.RetryPrefix)}
}

// Cluster is a whole cluster: its brokers, users and policies.
func Cluster(name string) Resource { return Resource{KindCluster, name} }

// String is "Topic:orders".
func (r Resource) String() string { return kindNames[r.Kind] + ":" + r.Name }

// pattern is the resource of a policy's entry.
type pattern struct {
	kind Kind
	form form
	name string
}

type form uint8

const (
	literal form = iota
	prefixed
	every
)

// parsePattern reads "*", "Topic:orders", "Topic:order*", "Group:*".
func parsePattern(s string) (pattern, error) {
	s = strings.TrimSpace(s)
	if s == "*" {
		return pattern{kind: KindAny, form: every}, nil
	}
	kind, name, found := strings.Cut(s, ":")
	p := pattern{}
	for k, n := range kindNames {
		if found && strings.EqualFold(kind, n) {
			p.kind = k
		}
	}
	switch {
	case p.kind == 0:
		return p, fmt.Errorf("resource %q is none of *, Topic:NAME, Group:NAME, Cluster:NAME, Namespace:NAME", s)
	case name == "":
		return p, fmt.Errorf("resource %q has no name", s)
	case name == "*":
		p.form = every
	case strings.HasSuffix(name, "*"):
		p.form, p.name = prefixed, strings.TrimSuffix(name, "*")
	default:
		p.name = name
	}
	if strings.Contains(p.name, "*") {
		return p, fmt.Errorf("resource %q: * stands at the end only", s)
	}
	return p, nil
}

func (p pattern) String() string {
	switch {
	case p.kind == KindAny:
		return "*"
	case p.form == every:
		return kindNames[p.kind] + ":*"
	case p.form == prefixed:
		return kindNames[p.kind] + ":" + p.name + "*"
	}
	return kindNames[p.kind] + ":" + p.name
}

func (p pattern) matches(r Resource) bool {
	name := r.Name
	switch p.kind {
	case KindAny:
		return true
	case r.Kind:
	case KindNamespace:
		if r.Kind == KindCluster {
			return false
		}
		name, _ = mq.SplitTenant(name)
	default:
		return false
	}
	switch p.form {
	case every:
		return true
	case prefixed:
		return strings.HasPrefix(name, p.name)
	}
	return name == p.name
}

// rank orders patterns from the most particular to the least.
func (p pattern) rank() int {
	const step = 1 << 20
	switch {
	case p.kind == KindAny:
		return 6 * step
	case p.kind == KindNamespace && p.form == every:
		return 5 * step
	case p.form == every:
		return 4 * step
	case p.kind == KindNamespace && p.form == prefixed:
		return 3*step - len(p.name)
	case p.kind == KindNamespace:
		return 2*step - step/2
	case p.form == prefixed:
		return step - len(p.name)
	}
	return 0
}
