package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/iceberg-go"
)

// EndPart notes that the topic of a broker group was deleted, in its table, and
// gives the other groups with files in the table whose topic was not. Where there
// are none, and retire is set, it retires the table as DropTable does. A table that has
// nothing of the group is left alone: it is others', who met the deletion before. A
// topic without a table is no error.
func (a *Archive) EndPart(ctx context.Context, topic, broker, reason string, retire bool) (waits []string, err error) {
	fail := func(err error) ([]string, error) {
		return nil, fmt.Errorf("end the part of %s in the table of %s: %w", broker, topic, err)
	}
	if err := a.ready(ctx); err != nil {
		return fail(err)
	}
	s := a.slot(topic)
	if err := s.turn.take(ctx, a.away); err != nil {
		return fail(err)
	}
	defer s.turn.leave()
	t, _, err := a.open(ctx, s, topic)
	if err != nil {
		return fail(err)
	}
	if t == nil {
		return nil, nil
	}
	if err := t.turn.take(ctx, a.away); err != nil {
		return fail(err)
	}
	defer t.turn.leave()
	retired := false
	if _, err = t.refresh(ctx); err == nil {
		_, err = t.commit(ctx, func(st *state) (*change, error) {
			var p iceberg.Properties
			var berr error
			if waits, p, berr = t.endPart(st, broker, reason, retire); berr != nil {
				return nil, berr
			}
			if retired = p[propRetired] != ""; len(p) == 0 {
				return nil, errApplied
			}
			return t.withProperties(st, p)
		})
	}
	if err != nil && !errors.Is(err, ErrNoTable) {
		return fail(err)
	}
	if retired || err != nil {
		s.table.Store(nil)
		return nil, nil
	}
	return waits, nil
}

// endPart gives what EndPart changes of a version, and whom it waits for.
func (t *Table) endPart(st *state, broker, reason string, retire bool) (waits []string, p iceberg.Properties, err error) {
	p = iceberg.Properties{}
	part := false
	for q := range st.snap.Next {
		part = part || q.Broker == broker
	}
	if !part {
		return nil, p, nil
	}
	now := t.opts.Now().UTC().Format(time.RFC3339)
	ended := map[string]string{}
	if text := st.meta.Properties()[propEnded]; text != "" {
		if err := json.Unmarshal([]byte(text), &ended); err != nil {
			return nil, nil, damaged(t.root, "property %s: %w", propEnded, err)
		}
	}
	shared := false
	for _, f := range t.index.All() {
		b := f.Queue.Broker
		shared = shared || b != broker
		if b != broker && ended[b] == "" && !slices.Contains(waits, b) {
			waits = append(waits, b)
		}
	}
	slices.Sort(waits)
	if shared && ended[broker] == "" {
		ended[broker] = now
		text, err := json.Marshal(ended)
		if err != nil {
			return nil, nil, err
		}
		p[propEnded] = string(text)
	}
	if retire && len(waits) == 0 {
		p[propRetired] = fmt.Sprintf("%s: %s", now, reason)
	}
	return waits, p, nil
}
