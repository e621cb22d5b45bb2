package query

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"varve/internal/mq"
	"varve/internal/nearest"
	"varve/query/wire"
)

// names knows which topics there are.
type names struct{ topics []name }

type name struct{ tenant, local, topic string }

// names lists the topics of the archive and of the hot log that who asks may
// see. Others don't exist for the query.
func (q *run) names() (names, error) {
	topics, err := q.e.deps.Catalog.Topics(q.ctx)
	if err != nil {
		return names{}, storageError("listing the archive's topics", err)
	}
	if q.e.deps.Hot != nil {
		for _, queue := range q.e.deps.Hot.Queues() {
			topics = append(topics, queue.Topic)
		}
	}
	if q.e.deps.Empty != nil {
		topics = append(topics, q.e.deps.Empty()...)
	}
	slices.Sort(topics)
	var n names
	for _, t := range slices.Compact(topics) {
		if q.req.Visible != nil && !q.req.Visible(t) {
			continue
		}
		tenant, local := mq.SplitTenant(t)
		if tenant == mq.DefaultTenant {
			local = t // also where it is spelled out: "default%x" is not x
		}
		n.topics = append(n.topics, name{tenant, local, t})
	}
	return n, nil
}

// find gives the topic of a table: the name as written, or else the only one
// that differs in case.
func (n names) find(ref wire.TableRef, tenant string) (string, error) {
	if ref.Schema != "" {
		tenant = ref.Schema
	}
	var loose []string
	for _, t := range n.topics {
		if !strings.EqualFold(t.tenant, tenant) || !strings.EqualFold(t.local, ref.Name) {
			continue
		}
		if t.tenant == tenant && t.local == ref.Name {
			return t.topic, nil
		}
		loose = append(loose, t.topic)
	}
	switch len(loose) {
	case 1:
		return loose[0], nil
	case 0:
		return "", n.unknown(ref, tenant)
	}
	return "", &Error{
		Kind: wire.UnknownTable, Position: ref.Position,
		Message: fmt.Sprintf("there is no topic %s; these differ from it in case only, so quote the one you mean: %s", ref.Name, strings.Join(loose, ", ")),
	}
}

func (n names) unknown(ref wire.TableRef, tenant string) error {
	msg := fmt.Sprintf("there is no topic %s", ref.Name)
	if tenant != mq.DefaultTenant {
		msg += " in tenant " + tenant
	}
	other := ""
	var known []string
	for _, t := range n.topics {
		if mq.SystemTopic(t.topic) {
			continue
		}
		if t.tenant != tenant {
			if strings.EqualFold(t.local, ref.Name) {
				other = t.tenant
			}
			continue
		}
		known = append(known, t.local)
	}
	best := nearest.Word(ref.Name, known)
	switch {
	case other != "":
		msg += fmt.Sprintf("; tenant %s has one: write %s.%s", other, quoteName(other), quoteName(ref.Name))
	case best != "":
		msg += "; did you mean " + quoteName(best) + "?"
	default:
		msg += "; SHOW TABLES lists the topics"
	}
	return &Error{Kind: wire.UnknownTable, Message: msg, Position: ref.Position}
}

// quoteName writes a name as SQL needs it.
func quoteName(s string) string {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
		}
	}
	if s == mq.DefaultTenant {
		return `"` + s + `"` // a word of SQL
	}
	return s
}

// showTables answers SHOW TABLES: the tenant's topics.
func (q *run) showTables() (*Rows, error) {
	n, err := q.names()
	if err != nil {
		return nil, err
	}
	rows := &Rows{q: q, cols: []Column{{Name: "name", Type: "VARCHAR"}}, fixed: [][]Value{}}
	for _, t := range n.topics {
		if t.tenant != q.req.Tenant || mq.SystemTopic(t.topic) {
			continue
		}
		v, err := json.Marshal(t.local)
		if err != nil {
			return nil, fmt.Errorf("writing the topic %q: %w", t.local, err)
		}
		rows.fixed = append(rows.fixed, []Value{v})
	}
	return rows, nil
}
