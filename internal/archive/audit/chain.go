package audit

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/proof"
)

// chain goes through each queue's files in order and compares the queue's state
// behind each with what its entry says, and the last with what was signed.
func (t *tableAudit) chain() {
	files := map[mq.Queue][]int{}
	for n, f := range t.l.Files {
		files[f.Queue] = append(files[f.Queue], n)
		if _, ok := t.l.Next[f.Queue]; !ok {
			t.doubtQueue(f.Queue, Doubt{File: f.Name, What: "the file is of a queue that the snapshot doesn't know"})
		}
	}
	states := map[mq.Queue]proof.State{}
	for _, q := range slices.SortedFunc(maps.Keys(t.l.Next), byQueue) {
		c := queueChain{tableAudit: t, q: q, next: t.l.Next[q], end: -1}
		for _, n := range files[q] {
			c.file(&t.l.Files[n], &t.results[n])
		}
		states[q] = c.finish()
		c.hidden(files[q])
	}
	for q, k := range t.since {
		if _, ok := t.l.Next[q]; !ok {
			t.doubtQueue(q, Doubt{From: k.From, To: k.Next, What: "the earlier report had this queue, and the table has not"})
		}
	}
	t.statements(states)
}

func byQueue(a, b mq.Queue) int {
	if a.Broker != b.Broker {
		if a.Broker < b.Broker {
			return -1
		}
		return 1
	}
	return int(a.ID) - int(b.ID)
}

// queueChain is a queue's way through its files.
type queueChain struct {
	*tableAudit
	q     mq.Queue
	next  int64
	end   int64 // of the file before; -1 at the first
	state proof.State
	begun bool
	good  bool // the last file was as it should be
	known bool // the earlier report's head was met
}

// base gives the state that a deletion left between two offsets.
func (c *queueChain) base(behind, upTo int64) (out archive.ProofBase, ok bool) {
	for _, b := range c.l.Bases {
		if b.Queue == c.q && b.State.Next > behind && b.State.Next <= upTo && (!ok || b.State.Next > out.State.Next) {
			out, ok = b, true
		}
	}
	return out, ok
}

// file takes the queue on over a file.
func (c *queueChain) file(f *archive.DataFile, res *result) {
	c.reach(f)
	c.end = f.Offsets.To
	if res.derived != nil {
		c.doubtQueue(c.q, Doubt{File: f.Name, From: f.Offsets.From, To: f.Offsets.To, What: "what engines read beside the rows: " + res.derived.Error()})
	}
	c.typedDoubt(*f, res.typed)
	switch {
	case res.err != nil:
		block, _ := proof.BlockOf(res.at)
		c.doubtQueue(c.q, Doubt{File: f.Name, Block: &block, From: res.at, To: f.Offsets.To, What: res.err.Error()})
	case len(res.wrong) > 0:
		c.doubtQueue(c.q, Doubt{File: f.Name, From: f.Offsets.From, To: f.Offsets.To, Rows: res.wrong, What: "columns that repeat what is in the record, or erasures, are not what they should be"})
	}
	if f.Proof == "" {
		c.uncovered(c.q, f.Offsets.From, f.Offsets.To, "written before the archive had a proof")
		c.state, c.good = proof.Begin(f.Offsets.To), true
		return
	}
	claimed, err := proof.DecodeState([]byte(f.Proof))
	if err != nil {
		c.doubtQueue(c.q, Doubt{File: f.Name, From: f.Offsets.From, To: f.Offsets.To, What: fmt.Sprintf("its manifest entry: %v", err)})
		claimed = proof.Begin(f.Offsets.To)
	}
	if res.err != nil {
		c.state, c.begun, c.good = claimed, true, false
		return
	}
	c.compare(f, res, claimed)
}

// compare appends a file's rows to the chain and compares the outcome.
func (c *queueChain) compare(f *archive.DataFile, res *result, claimed proof.State) {
	if !c.begun || c.state.From == c.state.Next {
		c.uncovered(c.q, f.Offsets.From, res.from, "written before the archive had a proof")
		c.state = proof.Begin(res.from)
	}
	c.begun = true
	c.sinceIn(f, res)
	after, err := c.state.Append(res.parts, res.from, f.Offsets.To)
	same := err == nil && after.Equal(claimed)
	c.good = same
	if same && len(res.bad) == 0 {
		c.proven += f.Offsets.To - res.from
	} else {
		c.tell(f, res, same)
	}
	if c.state = after; !same {
		c.state = claimed
	}
}

// tell says which rows of a file differ, as far as it can be told.
func (c *queueChain) tell(f *archive.DataFile, res *result, same bool) {
	d := Doubt{File: f.Name, From: f.Offsets.From, To: f.Offsets.To}
	block, _ := proof.BlockOf(f.Offsets.From)
	d.Block = &block
	if len(res.bad) > 0 {
		first := res.bad[0]
		block, _ := proof.BlockOf(first.From)
		d.Block, d.From, d.To, d.Rows = &block, first.From, first.To, res.rowsBad
	}
	switch {
	case len(res.bad) > 0 && same:
		d.What = "the rows are as they were committed, the file's own hashes are others"
	case len(res.bad) > 0:
		d.What = fmt.Sprintf("rows are not as they were committed: %d of the file's hashes differ from those that its rows come to", len(res.bad))
	case res.bare:
		d.What = "rows are not as they were committed; the file has no hashes that would tell which"
	default:
		d.What = "the queue's chain behind the file is not what its manifest entry says: the rows and the file's hashes were changed together, or the entry was, or what is before it"
	}
	c.doubtQueue(c.q, d)
}

// reach says what is between the file before and this one.
func (c *queueChain) reach(f *archive.DataFile) {
	base, ok := c.base(c.end, f.Offsets.From)
	first := c.end < 0
	from := c.end
	switch {
	case ok:
		if first {
			from = base.State.From
		}
		c.removed(from, base)
		from = base.State.Next
		c.state, c.begun = base.State, true
	case first && f.Proof == "":
		return // nobody knows where the queue began
	case first:
		if s, err := proof.DecodeState([]byte(f.Proof)); err == nil && s.From < f.Offsets.From {
			c.doubtQueue(c.q, Doubt{File: f.Name, From: s.From, To: f.Offsets.From, What: "what is before this file is not in the table, and no deletion left the state behind it"})
			c.state, c.begun = proof.State{From: s.From, Next: s.From}, true
		}
		return
	}
	switch {
	case f.Offsets.From == from:
	case f.Offsets.From < from:
		c.doubtQueue(c.q, Doubt{File: f.Name, From: f.Offsets.From, To: from, What: "the offsets are in two files"})
	case slices.Contains(c.l.Gaps[c.q], mq.Range{From: from, To: f.Offsets.From}):
		c.uncovered(c.q, from, f.Offsets.From, "a declared gap: the user chose to give these offsets up before they were archived")
	default:
		c.doubtQueue(c.q, Doubt{From: from, To: f.Offsets.From, What: "offsets are missing between two files, and no deletion and no gap is declared"})
	}
}

// removed says that retention took offsets, or that nothing says that it did.
func (c *queueChain) removed(from int64, base archive.ProofBase) {
	to := base.State.Next
	c.uncovered(c.q, from, to, "removed by retention")
	at := from
	said := slices.Concat(c.deleted[c.q], base.Gaps, c.l.Gaps[c.q])
	slices.SortFunc(said, func(a, b mq.Range) int { return cmp.Compare(a.From, b.From) })
	for _, r := range said {
		if r.From <= at && r.To > at {
			at = r.To
		}
	}
	if at < to {
		c.doubtQueue(c.q, Doubt{From: at, To: to, What: "offsets are gone, and no record of a deletion names them"})
	}
}

// finish gives the queue's last state.
func (c *queueChain) finish() proof.State {
	if c.end < 0 {
		if base, ok := c.base(-1, c.next); ok && base.State.Next == c.next {
			c.removed(base.State.From, base)
			c.state, c.end = base.State, c.next
		} else {
			c.state, c.end = proof.Begin(c.next), c.next
		}
	}
	if c.end != c.next {
		c.doubtQueue(c.q, Doubt{From: c.end, To: c.next, What: fmt.Sprintf("the files end at offset %d, the snapshot goes on at %d", c.end, c.next)})
	}
	if c.state.From > 0 && c.state.From == c.state.Next {
		c.uncovered(c.q, 0, c.state.From, "without a proof up to this offset")
	}
	c.sinceEnd()
	return c.state
}

// hidden looks for messages that are in files and below the offset up to which
// the snapshot says that deletions took the queue: readers don't show them.
func (c *queueChain) hidden(files []int) {
	begin := c.next
	for _, n := range slices.Backward(files) {
		f := c.l.Files[n].Offsets
		if f.To != begin && !slices.Contains(c.l.Gaps[c.q], mq.Range{From: f.To, To: begin}) {
			break
		}
		begin = f.From
	}
	if below := c.l.Below[c.q]; below > begin {
		c.doubtQueue(c.q, Doubt{From: begin, To: below, What: fmt.Sprintf("the snapshot says that deletions took everything below offset %d, and the table's files begin at %d", below, begin)})
	}
}

// sinceIn compares a file with the head of an earlier report that ends in it.
func (c *queueChain) sinceIn(f *archive.DataFile, res *result) {
	k, ok := c.since[c.q]
	if !ok || c.known || k.Next <= f.Offsets.From || k.Next > f.Offsets.To {
		return
	}
	c.known = true
	s, err := c.state.Append(res.upTo, res.from, k.Next)
	c.sameAs(k, s, err)
}

func (c *queueChain) sameAs(k QueueHead, s proof.State, err error) {
	head := s.Head()
	if err != nil || hex.EncodeToString(head[:]) != k.Head {
		c.doubtQueue(c.q, Doubt{From: k.From, To: k.Next, What: "the queue is not a continuation of what the earlier report had"})
	}
}

// sinceEnd compares the queue's end with the earlier report.
func (c *queueChain) sinceEnd() {
	k, ok := c.since[c.q]
	switch {
	case !ok || c.known:
	case k.Next == c.state.Next:
		c.sameAs(k, c.state, nil)
	case k.Next > c.state.Next:
		c.doubtQueue(c.q, Doubt{From: c.state.Next, To: k.Next, What: fmt.Sprintf("the earlier report had the queue up to offset %d", k.Next)})
	case k.Next > k.From:
		if base, ok := c.base(-1, c.next); ok && base.State.Next == k.Next {
			c.sameAs(k, base.State, nil)
		} else if !ok || base.State.Next < k.Next {
			c.doubtQueue(c.q, Doubt{From: k.From, To: k.Next, What: "the end of what the earlier report had is not in the table any more, and not behind a deletion"})
		}
	}
}
