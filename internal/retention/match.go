package retention

import (
	"fmt"
	"strings"

	"varve/internal/mq"
)

// tier says which bounds of a rule are asked for.
type tier int

const (
	archiveTier tier = iota
	hotTier
)

// Candidate is a rule that matches a queue.
type Candidate struct {
	Rule string `json:"rule"`
	// Why says how the rule matched and, for one that does not decide, what
	// beat it.
	Why string `json:"why"`
}

// Decision is the rule that decides about a queue in one tier. Rule is ""
// where none does and all is kept.
type Decision struct {
	Rule  string   `json:"rule,omitempty"`
	Age   Duration `json:"age,omitempty"`
	Bytes Bytes    `json:"bytes,omitempty"`
	// Messages is a bound of the archive.
	Messages int64 `json:"messages,omitempty"`
	// Candidates are all rules that matched, the deciding one first.
	Candidates []Candidate `json:"candidates,omitempty"`
}

// unbounded says that the rule keeps all for ever.
func (d Decision) unbounded() bool { return d.Age == 0 && d.Bytes == 0 && d.Messages == 0 }

// specificity orders rules: more literal characters of the topic, then fewer
// queues asked for, then more literal characters of the tenant.
type specificity struct {
	topic  patternRank
	queues int // 0 any, 1 a list
	tenant patternRank
}

type patternRank struct {
	exact    bool
	literals int
}

func rank(pattern string) patternRank {
	wild := strings.Count(pattern, "*") + strings.Count(pattern, "?")
	return patternRank{exact: pattern != "" && wild == 0, literals: len(pattern) - wild}
}

// compare is positive where a is more specific than b, and names the part that
// decided.
func (a patternRank) compare(b patternRank) int {
	switch {
	case a.exact != b.exact && a.exact:
		return 1
	case a.exact != b.exact:
		return -1
	}
	return a.literals - b.literals
}

func (s specificity) compare(o specificity) (int, string) {
	if c := s.topic.compare(o.topic); c != 0 {
		return c, "names the topic more exactly"
	}
	if c := s.queues - o.queues; c != 0 {
		return c, "names queues"
	}
	if c := s.tenant.compare(o.tenant); c != 0 {
		return c, "names the tenant more exactly"
	}
	return 0, "stands earlier in the list"
}

// Match finds the rule that decides about a queue's archive.
func (p Policy) Match(q mq.Queue) Decision { return p.match(q, archiveTier) }

// MatchHot finds the rule that decides how long a topic stays in the hot log.
func (p Policy) MatchHot(topic string) Decision {
	return p.match(mq.Queue{Topic: topic, ID: -1}, hotTier)
}

func (p Policy) match(q mq.Queue, t tier) Decision {
	tenant, topic := mq.SplitTenant(q.Topic)
	best, bestSpec := -1, specificity{}
	var losers []Candidate
	lose := func(i int, why, by string) {
		r := p.Rules[i]
		losers = append(losers, Candidate{Rule: r.Name, Why: r.describe() + "; " + by + " " + why})
	}
	for i, r := range p.Rules {
		if !r.speaksOf(t) || !r.matches(tenant, topic, q.ID) {
			continue
		}
		s := r.specificity()
		if best < 0 {
			best, bestSpec = i, s
			continue
		}
		if c, why := s.compare(bestSpec); c > 0 {
			lose(best, why, r.Name)
			best, bestSpec = i, s
		} else {
			_, why = bestSpec.compare(s)
			lose(i, why, p.Rules[best].Name)
		}
	}
	if best < 0 {
		return Decision{}
	}
	r := p.Rules[best]
	d := Decision{Rule: r.Name, Candidates: append([]Candidate{{Rule: r.Name, Why: r.describe()}}, losers...)}
	if t == hotTier {
		d.Age, d.Bytes = r.Hot.Age, r.Hot.Bytes
	} else {
		d.Age, d.Bytes, d.Messages = r.Archive.Age, r.Archive.Bytes, r.Archive.Messages
	}
	return d
}

func (r Rule) speaksOf(t tier) bool {
	if t == hotTier {
		return r.Hot != nil
	}
	return r.Archive != nil
}

func (r Rule) matches(tenant, topic string, id int32) bool {
	if !glob(anyIfEmpty(r.Tenant), tenant) || !glob(anyIfEmpty(r.Topic), topic) {
		return false
	}
	if r.Queues == "" {
		return true
	}
	ranges, err := parseQueues(r.Queues)
	if err != nil {
		return false
	}
	for _, x := range ranges {
		if id >= x.from && id <= x.to {
			return true
		}
	}
	return false
}

func (r Rule) specificity() specificity {
	s := specificity{topic: rank(r.Topic), tenant: rank(r.Tenant)}
	if r.Queues != "" {
		s.queues = 1
	}
	return s
}

func (r Rule) describe() string {
	s := fmt.Sprintf("matches tenant %q, topic %q", anyIfEmpty(r.Tenant), anyIfEmpty(r.Topic))
	if r.Queues != "" {
		s += fmt.Sprintf(", queues %q", r.Queues)
	}
	return s
}

// glob matches s against a pattern of literals, "*" and "?". It backtracks to
// the last star only, so its cost is bounded by len(pattern) × len(s).
func glob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
