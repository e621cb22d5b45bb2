package group

import (
	"maps"
	"slices"
	"strings"

	"varve/internal/mq"
)

// wish is all that a member subscribes to. Members that agree share one.
type wish struct {
	text    string // a line a topic, sorted
	members int
}

// Wish is one of several things that members of one group subscribe to. They
// should all be the same: a topic's filter is that of the member who spoke last,
// and queues go to members that don't want their topic.
type Wish struct {
	Subscriptions []string // "orders: paid || shipped", sorted
	ClientIDs     []string // sorted
}

// Differing is a group whose members' subscriptions differ, or that did until
// now: then Wishes has one, or none where nobody is left.
type Differing struct {
	Group  string
	Wishes []Wish
}

// wishOf writes a member's subscriptions down so that two that mean the same
// are equal. The retry topic is left out: clients subscribe to it by themselves.
func wishOf(subs []Subscription) string {
	lines := make([]string, 0, len(subs))
	for i := range subs {
		s := &subs[i]
		if strings.HasPrefix(s.Topic, mq.RetryPrefix) {
			continue
		}
		lines = append(lines, s.Topic+": "+expressionOf(s))
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

func expressionOf(s *Subscription) string {
	switch {
	case s.ClassFilter:
		return "class " + s.Expression
	case s.Type != "" && s.Type != "TAG":
		return s.Type + " " + strings.TrimSpace(s.Expression)
	}
	tags := strings.Split(s.Expression, "||")
	for i := range tags {
		tags[i] = strings.TrimSpace(tags[i])
	}
	slices.Sort(tags)
	tags = slices.DeleteFunc(slices.Compact(tags), func(t string) bool { return t == "" })
	if len(tags) == 0 {
		return "*"
	}
	return strings.Join(tags, " || ")
}

// wants notes what a member subscribes to. mu is held.
func (r *Registry) wants(group string, g *consumers, m *Member, text string) {
	if m.wish != nil && m.wish.text == text {
		return
	}
	r.unwant(group, g, m)
	w := g.wishes[text]
	if w == nil {
		w = &wish{text: text}
		g.wishes[text] = w
		r.wishesChanged(group, g)
	}
	w.members++
	m.wish = w
}

// unwant takes back what a member subscribes to. mu is held.
func (r *Registry) unwant(group string, g *consumers, m *Member) {
	w := m.wish
	if m.wish = nil; w == nil {
		return
	}
	if w.members--; w.members == 0 {
		delete(g.wishes, w.text)
		r.wishesChanged(group, g)
	}
}

// wishesChanged notes a group that has to be told of. mu is held.
func (r *Registry) wishesChanged(group string, g *consumers) {
	if len(g.wishes) > 1 || r.told[group] != "" {
		r.toTell[group] = struct{}{}
		r.telling.Store(true)
	}
}

// Changed gives the groups whose members began to differ in what they subscribe
// to since the last call, differ in another way, or agree again.
func (r *Registry) Changed() (out []Differing) {
	if !r.telling.Load() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.telling.Store(false)
	for _, name := range slices.Sorted(maps.Keys(r.toTell)) {
		g, now := r.consumers[name], ""
		before := r.told[name]
		if g != nil && len(g.wishes) > 1 {
			now = strings.Join(slices.Sorted(maps.Keys(g.wishes)), "\n\n")
		}
		if now == before {
			continue
		}
		if r.told[name] = now; now == "" {
			delete(r.told, name)
		}
		out = append(out, Differing{Group: name, Wishes: g.list()})
	}
	clear(r.toTell)
	return out
}

// list gives who wants what; nil for a group that is gone.
func (g *consumers) list() []Wish {
	if g == nil {
		return nil
	}
	byText := make(map[string][]string, len(g.wishes))
	for _, m := range g.members {
		if m.wish != nil {
			byText[m.wish.text] = append(byText[m.wish.text], m.ClientID)
		}
	}
	out := make([]Wish, 0, len(byText))
	for _, text := range slices.Sorted(maps.Keys(byText)) {
		ids := byText[text]
		slices.Sort(ids)
		out = append(out, Wish{Subscriptions: strings.Split(text, "\n"), ClientIDs: slices.Compact(ids)})
	}
	return out
}

// Differing gives what a group's members subscribe to where they differ, nil
// where they agree.
func (r *Registry) Differing(group string) []Wish {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.consumers[group]; g != nil && len(g.wishes) > 1 {
		return g.list()
	}
	return nil
}

// DifferingGroups is how many groups have members that differ.
func (r *Registry) DifferingGroups() (n int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, g := range r.consumers {
		if len(g.wishes) > 1 {
			n++
		}
	}
	return n
}
