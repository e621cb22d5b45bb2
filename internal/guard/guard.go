package guard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"varve/internal/auth"
	"varve/internal/mq"
	"varve/internal/remoting"
)

// Ext fields of a client of the newer kind of namespaces.
const (
	fieldNamespaced = "nsd"
	fieldNamespace  = "ns"
)

// Config sets up a Guard.
type Config struct {
	Store *auth.Store // off where nil
	// HasTopic and HasGroup report whether there is one; nil knows none.
	HasTopic, HasGroup func(name string) bool
}

// Guard looks at requests; Admit is a remoting.Config's.
type Guard struct{ cfg Config }

// New makes a guard.
func New(cfg Config) *Guard {
	none := func(string) bool { return false }
	if cfg.HasTopic == nil {
		cfg.HasTopic = none
	}
	if cfg.HasGroup == nil {
		cfg.HasGroup = none
	}
	return &Guard{cfg}
}

// Admit checks one request and gives its names their namespace.
func (g *Guard) Admit(c *remoting.Conn, req *remoting.Command) (again bool, err error) {
	on := g.cfg.Store.Enabled()
	namespace := ""
	if flag, ok := req.Ext.Lookup(fieldNamespaced); ok && flag == "true" {
		namespace = req.Ext.Get(fieldNamespace)
	}
	if !on && namespace == "" {
		return false, nil
	}
	if strings.ContainsRune(namespace, '%') {
		return true, &remoting.ReplyError{Code: remoting.InvalidParameter, Remark: fmt.Sprintf("namespace %q has a %%", namespace)}
	}
	req.Namespace = strings.Clone(namespace)
	a := ask{g: g, req: req, need: needOf(req.Code), namespace: namespace}
	if on {
		id, err := g.cfg.Store.VerifyRemoting(req.Ext.Raw(), req.Body, req.Version)
		if err != nil {
			return true, err
		}
		a.caller = auth.Caller{Identity: id, IP: c.Remote().Addr()}
		req.Caller = a.caller
	} else {
		a.caller.Identity = auth.Anybody
	}
	if a.caller.Super && namespace == "" {
		return true, nil
	}
	return true, a.run()
}

// ask is one request while it is looked at.
type ask struct {
	g         *Guard
	req       *remoting.Command
	need      *need
	caller    auth.Caller
	namespace string
	named     bool // it names a topic or a group
}

func (a *ask) run() error {
	n := a.need
	for _, f := range n.topics {
		if err := a.field(f, a.topic); err != nil {
			return err
		}
	}
	for _, f := range n.groups {
		if err := a.field(f, a.group); err != nil {
			return err
		}
	}
	if len(n.inTopics)+len(n.inGroups) > 0 {
		if err := a.body(); err != nil {
			return err
		}
	}
	if n.cluster || !a.named && !n.free && n.do != 0 {
		return a.allow(n.do, a.g.cfg.Store.Cluster())
	}
	return nil
}

func (a *ask) allow(do auth.Action, r auth.Resource) error {
	if a.caller.Super {
		return nil
	}
	return a.g.cfg.Store.AllowCaller(a.caller, do, r)
}

// field checks the names in an ext field, which are parted by commas where the
// field holds several, and gives it the names to be handled.
func (a *ask) field(name string, check func(string) (string, error)) error {
	value, ok := a.req.Ext.Lookup(name)
	if !ok || value == "" {
		return nil
	}
	parts := strings.Split(value, ",")
	for i, p := range parts {
		var err error
		if parts[i], err = check(strings.TrimSpace(p)); err != nil {
			return err
		}
	}
	if a.namespace != "" {
		a.req.Ext.Set(name, strings.Join(parts, ","))
	}
	return nil
}

// topic checks a topic's name and gives it its namespace.
func (a *ask) topic(name string) (string, error) {
	a.named = true
	if name == mq.AutoTopic {
		if a.req.Code == remoting.GetRouteInfoByTopic {
			return name, nil
		}
		return name, a.allow(a.need.do, auth.Topic(name))
	}
	name = a.wrapTopic(name)
	r, do := auth.Topic(name), a.need.do
	if a.need.acks {
		r = auth.Topic(a.popped(name))
	}
	if r.Kind == auth.KindGroup && do&auth.Pub != 0 {
		do = do&^auth.Pub | auth.Sub // a client that sends to its group's retry topic
	}
	if a.need.create && a.g.cfg.HasTopic(name) {
		do |= auth.Update
	}
	return name, a.allow(do, r)
}

// wrapTopic gives a topic its namespace. Clients make the name of a group's POP
// retry topic of both names, and each of them has its own.
func (a *ask) wrapTopic(name string) string {
	if a.namespace == "" {
		return name
	}
	group := a.req.Ext.Get("consumerGroup")
	if topic, ok := strings.CutPrefix(name, mq.RetryPrefix+group+"_"); ok && group != "" && strings.HasPrefix(name, mq.RetryPrefix) {
		return mq.RetryPrefix + wrap(a.namespace, group) + "_" + wrap(a.namespace, topic)
	}
	return wrap(a.namespace, name)
}

// popped is the topic whose message was popped from name: from its group's POP
// retry topic, perhaps, which is named after both. Java clients with a namespace
// of the older kind leave it off the topic.
func (a *ask) popped(name string) string {
	group := wrap(a.namespace, a.req.Ext.Get("consumerGroup"))
	if topic, ok := strings.CutPrefix(name, mq.RetryPrefix+group+"_"); ok && group != "" {
		name = topic
	}
	if tenant, _ := mq.SplitTenant(group); tenant != mq.DefaultTenant && !a.g.cfg.HasTopic(name) {
		return mq.InTenant(tenant, name)
	}
	return name
}

// group checks a group's name and gives it its namespace.
func (a *ask) group(name string) (string, error) {
	a.named = true
	name = wrap(a.namespace, name)
	do := a.need.do
	if a.need.create && a.g.cfg.HasGroup(name) {
		do |= auth.Update
	}
	return name, a.allow(do, auth.Group(name))
}

// wrap gives a name its namespace, unless it has it or is one of RocketMQ's
// own.
func wrap(namespace, name string) string {
	if namespace == "" || mq.SystemTopic(name) || name == mq.TraceTopic {
		return name
	}
	prefix, rest := "", name
	for _, p := range []string{mq.RetryPrefix, mq.DLQPrefix} {
		if after, ok := strings.CutPrefix(name, p); ok {
			prefix, rest = p, after
			break
		}
	}
	if strings.HasPrefix(rest, namespace+"%") {
		return name
	}
	return prefix + namespace + "%" + rest
}

// body checks the names in a JSON body. The body is replaced by what was
// understood of it: of a member that is there twice a handler might take the
// other one.
func (a *ask) body() error {
	if len(a.req.Body) == 0 {
		return nil
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(a.req.Body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return &remoting.ReplyError{Code: remoting.SystemError, Remark: fmt.Sprintf("request %d: body is not the JSON that it should be: %v", a.req.Code, err)}
	}
	for _, p := range a.need.inTopics {
		if err := walk(v, p, a.topic); err != nil {
			return err
		}
	}
	for _, p := range a.need.inGroups {
		if err := walk(v, p, a.group); err != nil {
			return err
		}
	}
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("request %d: %w", a.req.Code, err)
	}
	a.req.Body = body
	return nil
}

// walk replaces the strings at a path such as "a[].b" by what check makes of
// them.
func walk(v any, path string, check func(string) (string, error)) error {
	head, rest, deeper := strings.Cut(path, ".")
	name, list := strings.CutSuffix(head, "[]")
	object, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	key, err := member(object, name)
	if err != nil || key == "" {
		return err
	}
	switch {
	case !deeper:
		s, isText := object[key].(string)
		if !isText || s == "" {
			return nil
		}
		object[key], err = check(s)
		return err
	case !list:
		return walk(object[key], rest, check)
	}
	items, _ := object[key].([]any)
	for _, item := range items {
		if err := walk(item, rest, check); err != nil {
			return err
		}
	}
	return nil
}

// member finds a member as handlers do, whatever its case.
func member(object map[string]any, name string) (key string, err error) {
	for k := range object {
		if !strings.EqualFold(k, name) {
			continue
		}
		if key != "" {
			return "", &remoting.ReplyError{Code: remoting.InvalidParameter, Remark: fmt.Sprintf("body has both %q and %q", key, k)}
		}
		key = k
	}
	return key, nil
}
