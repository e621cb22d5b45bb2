package audit

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/proof"
)

// deletion is what the audit reads of a record of a deletion.
type deletion struct {
	Files []struct {
		Queue   mq.Queue `json:"queue"`
		Offsets mq.Range `json:"offsets"`
	} `json:"files"`
}

const (
	maxRecord = 64 << 20
	// strayAge is how old an upload is that no connector will commit any more,
	// and that retention has had time to remove.
	strayAge = 48 * time.Hour
)

// deletions reads the offsets that records of deletions name, by queue and in
// order. A record that can't be read is a doubt, and names nothing.
func (t *tableAudit) deletions(ctx context.Context) error {
	t.deleted = map[mq.Queue][]mq.Range{}
	b, root := t.archive.Bucket(), t.l.Table.Root()
	signed, err := t.signatures(ctx)
	if err != nil {
		return err
	}
	for o, err := range b.List(ctx, root+"/deletions/") {
		if err != nil {
			return fmt.Errorf("list deletions under %s: %w", root, err)
		}
		if !strings.HasSuffix(o.Name, ".json") || strings.HasSuffix(o.Name, ".removed.json") || o.Size > maxRecord {
			continue
		}
		d, err := t.readDeletion(ctx, o.Name, signed)
		if gone(err) || errors.Is(err, proof.ErrSignature) {
			t.doubt(Doubt{File: o.Name, What: fmt.Sprintf("a record of a deletion: %v", err)})
			continue
		} else if err != nil {
			return err
		}
		for _, f := range d.Files {
			t.deleted[f.Queue] = append(t.deleted[f.Queue], f.Offsets)
		}
	}
	for _, list := range t.deleted {
		slices.SortFunc(list, func(a, b mq.Range) int { return int(min(max(a.From-b.From, -1), 1)) })
	}
	return nil
}

func getJSON(ctx context.Context, b objstore.Bucket, name string, into any) error {
	r, err := b.Get(ctx, name)
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxRecord))
	if err != nil {
		return fmt.Errorf("get %s: %w", name, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w: %w", name, archive.ErrDamaged, err)
	}
	return nil
}

// known gives the heads that the earlier report has of a table.
func (r *run) known(i archive.Incarnation) map[mq.Queue]QueueHead {
	out := map[mq.Queue]QueueHead{}
	if r.o.Since == nil {
		return out
	}
	for _, h := range r.o.Since.Heads {
		if h.Topic != i.Topic || h.Incarnation != i.Number {
			continue
		}
		for _, q := range h.Queues {
			out[mq.Queue{Broker: h.Broker, Topic: h.Topic, ID: q.Queue}] = q
		}
	}
	return out
}

// missingTables looks for tables of the earlier report that are gone.
func (r *run) missingTables(have []archive.Incarnation) {
	if r.o.Since == nil {
		return
	}
	if r.o.Since.Archive != r.archive.Identity() {
		r.doubt(Doubt{What: fmt.Sprintf("the earlier report is of archive %s, this is %s", r.o.Since.Archive, r.archive.Identity())})
	}
	for _, h := range r.o.Since.Heads {
		if len(r.o.Topics) > 0 && !slices.Contains(r.o.Topics, h.Topic) {
			continue
		}
		if !slices.Contains(have, archive.Incarnation{Topic: h.Topic, Number: h.Incarnation}) {
			r.doubt(Doubt{Topic: h.Topic, Broker: h.Broker, What: fmt.Sprintf("the earlier report had incarnation %d of this topic, and the archive has none", h.Incarnation)})
		}
	}
}

// uncompared says what of the earlier report and of this audit were not held
// against each other: a scope that leaves a topic out on either side proves
// nothing of its history.
func (r *run) uncompared(have []archive.Incarnation) {
	if r.o.Since == nil {
		return
	}
	wanted := func(topic string) bool { return len(r.o.Topics) == 0 || slices.Contains(r.o.Topics, topic) }
	left := map[string]bool{}
	for _, h := range r.o.Since.Heads {
		if wanted(h.Topic) {
			r.rep.Compared++
			continue
		}
		if !left[h.Topic] {
			left[h.Topic] = true
			r.skip(NotCovered{Topic: h.Topic, Why: "the earlier report has it, and this run was not asked for it"})
		}
	}
	for _, i := range have {
		if wanted(i.Topic) && !slices.ContainsFunc(r.o.Since.Heads, func(h Head) bool { return h.Topic == i.Topic && h.Incarnation == i.Number }) {
			r.skip(NotCovered{Topic: i.Topic, Why: fmt.Sprintf("whether incarnation %d of it was put back: the earlier report has nothing of it", i.Number)})
		}
	}
}

// erasedAs is what a certificate says of a row.
type erasedAs struct{ leaf, left string }

// certificates reads the erasures' certificates of a table. One that is not
// signed by a key that was given is a doubt, and says nothing.
func (t *tableAudit) certificates(ctx context.Context) error {
	t.erased = map[mq.Queue]map[int64][]erasedAs{}
	b, root := t.archive.Bucket(), t.l.Table.Root()
	for o, err := range b.List(ctx, root+"/erasures/") {
		if err != nil {
			return fmt.Errorf("list erasures under %s: %w", root, err)
		}
		var raw json.RawMessage
		err := getJSON(ctx, b, o.Name, &raw)
		if err != nil && !gone(err) {
			return err
		}
		var c *proof.Certificate
		if err == nil {
			c, err = proof.OpenCertificate(raw, t.o.Keys)
		}
		if err == nil && (c.Archive != t.archive.Identity() || c.Topic != t.topic || c.Incarnation != t.number) {
			err = fmt.Errorf("it is of archive %s, topic %s, incarnation %d", c.Archive, c.Topic, c.Incarnation)
		}
		if err != nil {
			t.doubt(Doubt{File: o.Name, What: fmt.Sprintf("a certificate of an erasure: %v", err)})
			continue
		}
		for _, r := range c.Rows {
			q := mq.Queue{Broker: r.Broker, Topic: t.topic, ID: r.Queue}
			if t.erased[q] == nil {
				t.erased[q] = map[int64][]erasedAs{}
			}
			t.erased[q][r.Offset] = append(t.erased[q][r.Offset], erasedAs{r.Leaf, r.Left})
		}
	}
	return nil
}

// checkErased looks for the certificate of an erased row: it must say the leaf
// that the row had, and what is left of it.
func (t *tableAudit) checkErased(res *result, q mq.Queue, row *archive.AuditedRow) {
	is := erasedAs{hex.EncodeToString(row.Erased[:]), hex.EncodeToString(row.Leaf[:])}
	if !slices.Contains(t.erased[q][row.Offset], is) && len(res.wrong) < maxWrong {
		res.wrong = append(res.wrong, Row{row.Offset, row.MsgID(), "it is erased, and no certificate says so of these hashes"})
	}
}
