package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/proof"
)

// maxSelected bounds the messages of one proof: 40 bytes each.
const maxSelected = 10_000_000

// ErrNotProvable says that messages are not in the archive, or not in its proof.
var ErrNotProvable = errors.New("can't be proven")

// Prove makes the proof of some messages of a topic's newest table, all of one
// broker group: offsets by queue. What it gives was checked.
func Prove(ctx context.Context, a *archive.Archive, topic, broker string, offsets map[int32][]mq.Range, records bool) (*proof.Selection, error) {
	tables, err := a.Incarnations(ctx)
	if err != nil {
		return nil, err
	}
	newest := archive.Incarnation{}
	for _, i := range tables {
		if i.Topic == topic {
			newest = i
		}
	}
	if newest.Number == 0 {
		return nil, fmt.Errorf("%s: %w", topic, ErrNoTopic)
	}
	l, err := a.ReadLedger(ctx, newest)
	if err != nil {
		return nil, err
	}
	signed, ok := l.Signed[broker]
	if !ok {
		return nil, fmt.Errorf("%w: topic %s has no head of broker group %s", ErrNotProvable, topic, broker)
	}
	p := &prover{a: a, l: l, broker: broker, records: records}
	p.out = &proof.Selection{Version: 1, Head: signed.Doc(signed.KeyID, signed.Signature)}
	p.heads()
	var ids []int32
	for id := range offsets {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if err := p.queue(ctx, id, merged(offsets[id])); err != nil {
			return nil, fmt.Errorf("queue %d: %w", id, err)
		}
	}
	digest := proof.Digest(p.leaves)
	p.out.Digest, p.out.Messages = hex.EncodeToString(digest[:]), len(p.leaves)
	if _, err := p.out.Check(nil, RecordParts); err != nil {
		return nil, fmt.Errorf("%w: the archive is not as its head says, see varve archive verify: %w", ErrNotProvable, err)
	}
	return p.out, nil
}

// RecordParts takes a record apart for proof.Selection.Check.
func RecordParts(b []byte) (head, body, tail []byte, err error) {
	r, rest, err := mq.NextRecord(b)
	if err == nil && len(rest) > 0 {
		err = mq.ErrBadRecord
	}
	if err != nil {
		return nil, nil, nil, err
	}
	head, body, tail = r.Parts()
	return head, body, tail, nil
}

// merged gives ranges in order and joined.
func merged(list []mq.Range) []mq.Range {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b mq.Range) int { return int(min(max(a.From-b.From, -1), 1)) })
	var out []mq.Range
	for _, r := range list {
		switch n := len(out); {
		case r.Empty():
		case n > 0 && r.From <= out[n-1].To:
			out[n-1].To = max(out[n-1].To, r.To)
		default:
			out = append(out, r)
		}
	}
	return out
}

type prover struct {
	a       *archive.Archive
	l       *archive.Ledger
	broker  string
	records bool
	queues  []proof.QueueHead
	leaves  []proof.Hash
	out     *proof.Selection
}

// heads finds the heads of the broker group's queues as the entries say them.
func (p *prover) heads() {
	for _, q := range slices.SortedFunc(keys(p.l.Next), byQueue) {
		if q.Broker != p.broker {
			continue
		}
		s := proof.Begin(p.l.Next[q])
		for _, b := range p.l.Bases {
			if b.Queue == q && b.State.Next == s.Next {
				s = b.State
			}
		}
		for _, f := range p.l.Files {
			if have, err := proof.DecodeState([]byte(f.Proof)); f.Queue == q && f.Offsets.To == s.Next && err == nil {
				s = have
			}
		}
		p.queues = append(p.queues, proof.QueueHead{ID: q.ID, From: s.From, Next: s.Next, Head: s.Head()})
	}
}

func keys(m map[mq.Queue]int64) func(func(mq.Queue) bool) {
	return func(yield func(mq.Queue) bool) {
		for q := range m {
			if !yield(q) {
				return
			}
		}
	}
}

// queue proves ranges of one queue.
func (p *prover) queue(ctx context.Context, id int32, ranges []mq.Range) error {
	index := slices.IndexFunc(p.queues, func(q proof.QueueHead) bool { return q.ID == id })
	if index < 0 || len(ranges) == 0 {
		return fmt.Errorf("%w: the topic has no such queue, or no offsets were given", ErrNotProvable)
	}
	head := p.queues[index]
	q := mq.Queue{Broker: p.broker, Topic: p.out.Head.Topic, ID: id}
	first, end := ranges[0].From, ranges[len(ranges)-1].To
	if first < head.From || end > head.Next {
		return fmt.Errorf("%w: offsets %d to %d, proven are those from %d to %d", ErrNotProvable, first, end-1, head.From, head.Next-1)
	}
	selected := func(offset int64) bool {
		_, ok := slices.BinarySearchFunc(ranges, offset, func(r mq.Range, o int64) int {
			switch {
			case o < r.From:
				return 1
			case o >= r.To:
				return -1
			}
			return 0
		})
		return ok
	}
	k := proof.Keeper{Keep: selected}
	state, err := p.before(q, first)
	if err != nil {
		return err
	}
	k.Start(state)
	n := len(p.leaves)
	for _, f := range p.l.Files {
		if f.Queue == q && f.Offsets.To > state.Next {
			if err := p.file(ctx, &k, f, max(f.Offsets.From, state.Next), ranges); err != nil {
				return err
			}
		}
	}
	one := proof.QueueProof{
		Queue: id, From: head.From, Next: head.Next, Index: index, Siblings: proof.QueuePath(p.queues, index),
		Chain: hex.EncodeToString(state.Chain[:]), Blocks: k.Blocks(),
	}
	want := 0
	for _, r := range ranges {
		one.Offsets = append(one.Offsets, [2]int64{r.From, r.To})
		want += int(r.Len())
	}
	if got := len(p.leaves) - n; got != want {
		return fmt.Errorf("%w: of %d messages the archive has %d", ErrNotProvable, want, got)
	}
	p.out.Selection = append(p.out.Selection, one)
	return nil
}

// before gives the latest known state of a queue that ends before an offset.
func (p *prover) before(q mq.Queue, offset int64) (proof.State, error) {
	best, found := proof.State{}, false
	see := func(s proof.State) {
		if s.Next <= offset && (!found || s.Next > best.Next) {
			best, found = s, true
		}
	}
	for _, b := range p.l.Bases {
		if b.Queue == q {
			see(b.State)
		}
	}
	for _, f := range p.l.Files {
		if f.Queue != q || f.Proof == "" {
			continue
		}
		s, err := proof.DecodeState([]byte(f.Proof))
		if err != nil {
			return best, fmt.Errorf("manifest entry of %s: %w", f.Name, err)
		}
		see(s)
		if s.From >= f.Offsets.From {
			see(proof.Begin(s.From))
		}
	}
	if !found {
		return best, fmt.Errorf("%w: offset %d is not in the archive any more", ErrNotProvable, offset)
	}
	return best, nil
}

// file gives a file's subtrees to the keeper: from its rows where messages of it
// are selected, else as it says itself.
func (p *prover) file(ctx context.Context, k *proof.Keeper, f archive.DataFile, from int64, ranges []mq.Range) error {
	file, err := archive.OpenFile(ctx, p.a.Bucket(), f)
	if err != nil {
		return err
	}
	own, err := file.Parts()
	if err != nil {
		return err
	}
	touched := slices.ContainsFunc(ranges, func(r mq.Range) bool { return r.From < f.Offsets.To && r.To > from })
	if len(own) > 0 && !touched && from == f.Offsets.From {
		for _, part := range own {
			for _, t := range part.Trees {
				k.Add(part.Block, t)
			}
		}
		return nil
	}
	return file.Audit(ctx, func(row *archive.AuditedRow) error {
		if row.Offset < from {
			return nil
		}
		leaf := row.Leaf
		if row.Erased != nil {
			leaf = *row.Erased
		}
		block, place := proof.BlockOf(row.Offset)
		k.Add(block, proof.Tree{Index: uint16(place), Hash: leaf})
		if !k.Keep(row.Offset) {
			return nil
		}
		if p.leaves = append(p.leaves, leaf); len(p.leaves) > maxSelected {
			return fmt.Errorf("%w: more than %d messages at once", ErrNotProvable, maxSelected)
		}
		if p.records && row.Erased == nil {
			p.out.Records = append(p.out.Records, proof.ProvenRecord{Queue: f.Queue.ID, Offset: row.Offset, Record: slices.Clone(row.Record)})
		}
		return nil
	})
}
