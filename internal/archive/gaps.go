package archive

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"varve/internal/mq"
)

// Gaps are the declared gaps of a table's queues, in order of their offsets.
type Gaps map[mq.Queue][]mq.Range

func (g Gaps) clone() Gaps {
	out := maps.Clone(g)
	for q, list := range out {
		out[q] = slices.Clone(list)
	}
	return out
}

// add declares a gap after all others of its queue.
func (g *Gaps) add(x Gap) {
	if *g == nil {
		*g = Gaps{}
	}
	(*g)[x.Queue] = append((*g)[x.Queue], x.Offsets)
}

// prune forgets the gaps below a queue's first offset; one that ends there stays.
func (g Gaps) prune(q mq.Queue, first int64) {
	g[q] = slices.DeleteFunc(g[q], func(r mq.Range) bool { return r.To < first })
	if len(g[q]) == 0 {
		delete(g, q)
	}
}

// encode gives {"<broker>": {"<queue id>": [[from, to], …]}}.
func (g Gaps) encode() string {
	out := map[string]map[string][][2]int64{}
	for q, list := range g {
		if out[q.Broker] == nil {
			out[q.Broker] = map[string][][2]int64{}
		}
		for _, r := range list {
			id := strconv.Itoa(int(q.ID))
			out[q.Broker][id] = append(out[q.Broker][id], [2]int64{r.From, r.To})
		}
	}
	b, _ := json.Marshal(out)
	return string(b)
}

func decodeGaps(topic, s string) (Gaps, error) {
	if s == "" {
		return nil, nil
	}
	var in map[string]map[string][][2]int64
	if err := json.Unmarshal([]byte(s), &in); err != nil {
		return nil, err
	}
	g := Gaps{}
	for broker, queues := range in {
		for id, list := range queues {
			n, err := strconv.ParseInt(id, 10, 32)
			if err != nil {
				return nil, err
			}
			q := mq.Queue{Broker: broker, Topic: topic, ID: int32(n)}
			for _, r := range list {
				g[q] = append(g[q], mq.Range{From: r[0], To: r[1]})
			}
		}
	}
	return g, nil
}
