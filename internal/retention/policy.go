package retention

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
)

// MaxRules bounds a policy: every decision looks at each rule.
const MaxRules = 1000

// Policy is the whole set of rules. The zero Policy keeps everything.
type Policy struct {
	Rules []Rule `json:"rules"`
	// Quotas bound what tenants take in the archive.
	Quotas []Quota `json:"quotas,omitempty"`
}

// Rule bounds what is kept of the queues that it matches. An empty pattern
// matches all; in Tenant and Topic "*" stands for any run of characters and
// "?" for one.
type Rule struct {
	Name   string `json:"name" yaml:"name" koanf:"name"`
	Tenant string `json:"tenant,omitempty" yaml:"tenant,omitempty" koanf:"tenant"`
	// Topic is matched against the name without the tenant's prefix.
	Topic string `json:"topic,omitempty" yaml:"topic,omitempty" koanf:"topic"`
	// Queues is a list of ids and id ranges, like "0,4-7".
	Queues  string         `json:"queues,omitempty" yaml:"queues,omitempty" koanf:"queues"`
	Archive *ArchiveBounds `json:"archive,omitempty" yaml:"archive,omitempty" koanf:"archive"`
	Hot     *HotBounds     `json:"hot,omitempty" yaml:"hot,omitempty" koanf:"hot"`
}

// ArchiveBounds says how long a queue stays in the archive. Where several are
// set, what one of them lets go goes; where none is, all is kept for ever.
type ArchiveBounds struct {
	// Age is counted from the store time of a file's last message.
	Age Duration `json:"age,omitempty" yaml:"age,omitempty" koanf:"age"`
	// Bytes is a bound for each queue, in bytes of its files.
	Bytes Bytes `json:"bytes,omitempty" yaml:"bytes,omitempty" koanf:"bytes"`
	// Messages is a bound for each queue.
	Messages int64 `json:"messages,omitempty" yaml:"messages,omitempty" koanf:"messages"`
}

// HotBounds says how long archived messages stay in the hot log as well. The
// log is one for a whole broker group and goes segment by segment: a segment
// stays until every topic in it may go.
type HotBounds struct {
	Age Duration `json:"age,omitempty" yaml:"age,omitempty" koanf:"age"`
	// Bytes bounds the log as a whole; only a rule for all queues may set it.
	Bytes Bytes `json:"bytes,omitempty" yaml:"bytes,omitempty" koanf:"bytes"`
	// DropUnarchived lets messages go that are not in the archive yet. It
	// loses data by design; only a rule for all queues may set it.
	DropUnarchived bool `json:"drop_unarchived,omitempty" yaml:"drop_unarchived,omitempty" koanf:"drop_unarchived"`
}

// RuleError names the rule and the field that cannot be accepted.
type RuleError struct {
	Index  int    // position in the list, from 0
	Rule   string // its name, "" where it has none
	Field  string // as in the JSON form, such as "archive.age"
	Reason string
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("retention rule %d (%q): %s: %s", e.Index+1, e.Rule, e.Field, e.Reason)
}

// ParseJSON reads and validates the JSON form. Unknown fields are errors.
func ParseJSON(data []byte) (Policy, error) {
	var doc struct {
		Rules  []json.RawMessage `json:"rules"`
		Quotas []Quota           `json:"quotas"`
	}
	if err := decodeStrict(data, &doc); err != nil {
		return Policy{}, fmt.Errorf("retention policy: %w", err)
	}
	p := Policy{Rules: make([]Rule, len(doc.Rules)), Quotas: doc.Quotas}
	var errs []error
	for i, raw := range doc.Rules {
		if err := decodeStrict(raw, &p.Rules[i]); err != nil {
			errs = append(errs, ruleDecodeError(i, raw, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Policy{}, err
	}
	if err := p.Validate(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// ParseYAML reads and validates the YAML form, which has the JSON form's
// fields.
func ParseYAML(data []byte) (Policy, error) {
	doc, err := yaml.Parser().Unmarshal(data)
	if err != nil {
		return Policy{}, fmt.Errorf("retention policy: %w", err)
	}
	asJSON, err := json.Marshal(doc)
	if err != nil {
		return Policy{}, fmt.Errorf("retention policy: %w", err)
	}
	return ParseJSON(asJSON)
}

func decodeStrict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more after the end of the document")
	}
	return nil
}

// ruleDecodeError finds the field that a rule's decoding failed at by decoding
// the fields one by one.
func ruleDecodeError(i int, raw json.RawMessage, cause error) error {
	e := &RuleError{Index: i, Field: "rule", Reason: strings.TrimPrefix(cause.Error(), "json: ")}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return e
	}
	_ = json.Unmarshal(fields["name"], &e.Rule)
	for name, v := range fields {
		if field, err := decodeField(name, v); err != nil {
			e.Field, e.Reason = field, strings.TrimPrefix(err.Error(), "json: ")
			return e
		}
	}
	return e
}

func decodeField(name string, v json.RawMessage) (field string, err error) {
	one := func(name string, v json.RawMessage, into any) error {
		doc, _ := json.Marshal(map[string]json.RawMessage{name: v})
		return decodeStrict(doc, into)
	}
	err = one(name, v, new(Rule))
	var inner map[string]json.RawMessage
	if err == nil || json.Unmarshal(v, &inner) != nil {
		return name, err
	}
	for k, iv := range inner {
		var ierr error
		if name == "hot" {
			ierr = one(k, iv, new(HotBounds))
		} else {
			ierr = one(k, iv, new(ArchiveBounds))
		}
		if ierr != nil {
			return name + "." + k, ierr
		}
	}
	return name, err
}

// Validate reports every rule that cannot be accepted, nil if none.
func (p Policy) Validate() error {
	var errs []error
	bad := func(i int, field, format string, args ...any) {
		errs = append(errs, &RuleError{Index: i, Rule: p.Rules[i].Name, Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	if len(p.Rules) > MaxRules {
		return fmt.Errorf("retention policy: %d rules are over the limit of %d", len(p.Rules), MaxRules)
	}
	names, targets := map[string]int{}, map[string]int{}
	for i, r := range p.Rules {
		if r.Name == "" {
			bad(i, "name", "is empty")
		} else if j, dup := names[r.Name]; dup {
			bad(i, "name", "rule %d has the same", j+1)
		} else {
			names[r.Name] = i
		}
		target := fmt.Sprintf("%q %q %q", anyIfEmpty(r.Tenant), anyIfEmpty(r.Topic), r.Queues)
		if j, dup := targets[target]; dup {
			bad(i, "topic", "rule %d (%q) has the same tenant, topic and queues", j+1, p.Rules[j].Name)
		} else {
			targets[target] = i
		}
		if _, err := parseQueues(r.Queues); err != nil {
			bad(i, "queues", "%v", err)
		}
		p.validateBounds(i, bad)
	}
	return errors.Join(append(errs, p.validateQuotas()...)...)
}

func (p Policy) validateBounds(i int, bad func(i int, field, format string, args ...any)) {
	r := p.Rules[i]
	if r.Archive == nil && r.Hot == nil {
		bad(i, "archive", "the rule bounds neither archive nor hot")
	}
	if a := r.Archive; a != nil {
		if a.Age < 0 {
			bad(i, "archive.age", "is negative")
		}
		if a.Bytes < 0 {
			bad(i, "archive.bytes", "is negative")
		}
		if a.Messages < 0 {
			bad(i, "archive.messages", "is negative")
		}
	}
	h := r.Hot
	if h == nil {
		return
	}
	if h.Age < 0 {
		bad(i, "hot.age", "is negative")
	}
	if h.Bytes < 0 {
		bad(i, "hot.bytes", "is negative")
	}
	if r.Queues != "" {
		bad(i, "hot", "the hot log is not kept by queue; leave queues out")
	}
	if r.matchesAll() {
		return
	}
	if h.Bytes != 0 {
		bad(i, "hot.bytes", "the hot log is one for all topics: only a rule without tenant, topic and queues may bound its bytes")
	}
	if h.DropUnarchived {
		bad(i, "hot.drop_unarchived", "the hot log is one for all topics: only a rule without tenant, topic and queues may set it")
	}
}

func anyIfEmpty(pattern string) string {
	if pattern == "" {
		return "*"
	}
	return pattern
}

func (r Rule) matchesAll() bool {
	return anyIfEmpty(r.Tenant) == "*" && anyIfEmpty(r.Topic) == "*" && r.Queues == ""
}

// idRange is a closed range of queue ids.
type idRange struct{ from, to int32 }

func parseQueues(s string) ([]idRange, error) {
	if s == "" {
		return nil, nil
	}
	var out []idRange
	for _, part := range strings.Split(s, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			hi = lo
		}
		from, err1 := strconv.ParseUint(lo, 10, 31)
		to, err2 := strconv.ParseUint(hi, 10, 31)
		if err1 != nil || err2 != nil || from > to {
			return nil, fmt.Errorf("%q: want queue ids and ranges like 0,4-7", part)
		}
		out = append(out, idRange{int32(from), int32(to)})
	}
	return out, nil
}
