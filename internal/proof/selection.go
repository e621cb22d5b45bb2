package proof

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"slices"
)

// Selection proves some messages of a topic against a broker group's signed
// head, whoever holds it: it needs no archive. It is stored as JSON.
type Selection struct {
	Version   int            `json:"version"` // 1
	Head      HeadDoc        `json:"head"`
	Digest    string         `json:"digest"` // of the leaves, by queue and offset; see Digest
	Messages  int            `json:"messages"`
	Selection []QueueProof   `json:"selection"`
	Records   []ProvenRecord `json:"records,omitempty"`
}

// HeadDoc is a signed statement.
type HeadDoc struct {
	Archive     string `json:"archive"`
	Topic       string `json:"topic"`
	Incarnation int    `json:"incarnation"`
	Broker      string `json:"broker"`
	Epoch       int64  `json:"epoch"`
	At          int64  `json:"at"` // ms
	Queues      int    `json:"queues"`
	Root        string `json:"root"`
	Key         string `json:"key,omitempty"`
	Signature   []byte `json:"signature,omitempty"`
}

// Doc gives a statement with its signature.
func (s *Statement) Doc(key string, signature []byte) HeadDoc {
	return HeadDoc{s.Archive, s.Topic, s.Incarnation, s.Broker, s.Epoch, s.Millis, s.Queues, hex.EncodeToString(s.Root[:]), key, signature}
}

// QueueProof leads from messages of one queue to the root over the queues.
type QueueProof struct {
	Queue int32 `json:"queue"`
	From  int64 `json:"from"`
	Next  int64 `json:"next"`
	// Index is the queue's place among the broker group's, Siblings what stands
	// beside it on the way to the root.
	Index    int      `json:"index"`
	Siblings []string `json:"siblings"`
	// Chain is the chain before the first of Blocks, which are all from there to
	// the queue's end.
	Chain  string       `json:"chain"`
	Blocks []BlockProof `json:"blocks"`
	// Offsets are the messages' ranges, the ends exclusive.
	Offsets [][2]int64 `json:"offsets"`
}

// BlockProof is a block: subtrees, among them the leaves of the messages.
type BlockProof struct {
	Block int64  `json:"block"`
	Trees []byte `json:"trees"`
}

// ProvenRecord is a message as the archive serves it.
type ProvenRecord struct {
	Queue  int32  `json:"queue"`
	Offset int64  `json:"offset"`
	Record []byte `json:"record"`
}

// Keeper joins the subtrees of a queue's blocks, but for the leaves of some
// messages, which it keeps apart.
type Keeper struct {
	Keep   func(offset int64) bool
	blocks []Part
}

// Start begins with a state's open block.
func (k *Keeper) Start(s State) {
	if block, _ := BlockOf(s.Next); len(s.Open) > 0 {
		k.blocks = append(k.blocks, Part{block, slices.Clone(s.Open)})
	}
}

// Add takes a subtree of a block; those of Add come in order.
func (k *Keeper) Add(block int64, t Tree) {
	n := len(k.blocks)
	if n == 0 || k.blocks[n-1].Block != block {
		k.blocks = append(k.blocks, Part{Block: block})
		n++
	}
	p := &k.blocks[n-1]
	kept := func(t *Tree) bool { return t.Level == 0 && k.Keep(block<<BlockLevel+int64(t.Index)) }
	for t.Level < BlockLevel && t.Index&1 == 1 && len(p.Trees) > 0 && !kept(&t) {
		left := &p.Trees[len(p.Trees)-1]
		if left.Level != t.Level || left.Index != t.Index-1 || kept(left) {
			break
		}
		t = Tree{t.Level + 1, t.Index >> 1, node(&left.Hash, &t.Hash)}
		p.Trees = p.Trees[:len(p.Trees)-1]
	}
	p.Trees = append(p.Trees, t)
}

// Blocks gives what was kept.
func (k *Keeper) Blocks() []BlockProof {
	out := make([]BlockProof, len(k.blocks))
	for i, p := range k.blocks {
		out[i] = BlockProof{p.Block, appendTrees(nil, p.Trees)}
	}
	return out
}

// QueuePath gives what stands beside a queue on the way to the root.
func QueuePath(queues []QueueHead, index int) []string {
	row := make([]Hash, len(queues))
	for i := range queues {
		row[i] = queues[i].leaf()
	}
	out := []string{}
	for level := range treeHeight(len(queues)) {
		beside := absent[level]
		if n := index ^ 1; n < len(row) {
			beside = row[n]
		}
		out = append(out, hex.EncodeToString(beside[:]))
		row, index = fold(row, level), index/2
	}
	return out
}

// Checked is what a check of a selection has shown.
type Checked struct {
	Digest  Hash
	Key     string // of those that were given, the one that signed the head; "" where none was given
	Records int    // messages whose record is in the selection and hashes to its leaf
}

// Check proves the selection against its head, and the head against the keys
// where there are any.
func (s *Selection) Check(keys []ed25519.PublicKey, parts func(record []byte) (head, body, tail []byte, err error)) (Checked, error) {
	var c Checked
	bad := func(err error) (Checked, error) { return Checked{}, err }
	if s.Version != version {
		return bad(fmt.Errorf("%w: version %d, this program knows %d", ErrBad, s.Version, version))
	}
	h := s.Head
	st := Statement{Archive: h.Archive, Topic: h.Topic, Incarnation: h.Incarnation, Broker: h.Broker, Epoch: h.Epoch, Millis: h.At, Queues: h.Queues}
	var err error
	if st.Root, err = parseHash(h.Root); err != nil {
		return bad(fmt.Errorf("root: %w", err))
	}
	if len(keys) > 0 {
		if h.Key == "" && len(h.Signature) == 0 {
			return bad(fmt.Errorf("the head: %w", ErrUnsigned))
		}
		n := slices.IndexFunc(keys, func(k ed25519.PublicKey) bool { return st.Verify(k, h.Signature) == nil })
		if n < 0 {
			return bad(fmt.Errorf("the head: %w", ErrSignature))
		}
		c.Key = KeyID(keys[n])
	}
	leaves := map[int32]map[int64]Hash{}
	var all []Hash
	for i := range s.Selection {
		q := &s.Selection[i]
		if i > 0 && s.Selection[i-1].Queue >= q.Queue {
			return bad(fmt.Errorf("%w: queue %d behind queue %d", ErrBad, q.Queue, s.Selection[i-1].Queue))
		}
		found, list, err := q.check(st.Queues, st.Root)
		if err != nil {
			return bad(fmt.Errorf("queue %d: %w", q.Queue, err))
		}
		leaves[q.Queue] = found
		all = append(all, list...)
	}
	c.Digest = Digest(all)
	if len(all) != s.Messages || hex.EncodeToString(c.Digest[:]) != s.Digest {
		return bad(fmt.Errorf("%w: %d messages come to %x, the file says %d and %s", ErrBad, len(all), c.Digest, s.Messages, s.Digest))
	}
	var hasher Hasher
	for _, r := range s.Records {
		head, body, tail, err := parts(r.Record)
		if err != nil {
			return bad(fmt.Errorf("record of queue %d, offset %d: %w", r.Queue, r.Offset, err))
		}
		if want, ok := leaves[r.Queue][r.Offset]; !ok || hasher.Leaf(head, body, tail) != want {
			return bad(fmt.Errorf("%w: the record of queue %d, offset %d is not the one that is proven", ErrBad, r.Queue, r.Offset))
		}
		delete(leaves[r.Queue], r.Offset) // a record counts once
		c.Records++
	}
	return c, nil
}

// check goes from the leaves to the root, and gives those of the selection by
// offset and in order.
func (q *QueueProof) check(queues int, want Hash) (map[int64]Hash, []Hash, error) {
	chain, err := parseHash(q.Chain)
	if err != nil {
		return nil, nil, fmt.Errorf("chain: %w", err)
	}
	last, _ := BlockOf(q.Next)
	have := map[int64]Hash{}
	open, before := absent[BlockLevel], int64(-1)
	for _, b := range q.Blocks {
		d := decoder{b: b.Trees}
		trees := d.trees()
		if err := d.end(); err != nil {
			return nil, nil, err
		}
		if b.Block <= before || b.Block > last || len(trees) == 0 {
			return nil, nil, fmt.Errorf("%w: block %d behind block %d, the last is %d", ErrBad, b.Block, before, last)
		}
		before = b.Block
		for _, t := range trees {
			if t.Level == 0 {
				have[b.Block<<BlockLevel+int64(t.Index)] = t.Hash
			}
		}
		if r := root(trees); b.Block < last {
			chain = link(chain, b.Block, r)
		} else {
			open = r
		}
	}
	var list []Hash
	selected := map[int64]Hash{}
	at := q.From
	for _, r := range q.Offsets {
		if r[0] < at || r[1] <= r[0] || r[1] > q.Next {
			return nil, nil, fmt.Errorf("%w: offsets %d to %d", ErrBad, r[0], r[1])
		}
		for at = r[0]; at < r[1]; at++ {
			leaf, ok := have[at]
			if !ok {
				return nil, nil, fmt.Errorf("%w: no leaf of offset %d", ErrBad, at)
			}
			list, selected[at] = append(list, leaf), leaf
		}
	}
	head := QueueHead{q.Queue, q.From, q.Next, headOf(q.From, q.Next, chain, open)}
	return selected, list, climb(head.leaf(), q.Index, q.Siblings, queues, want)
}

// climb goes from a queue's leaf to the root.
func climb(at Hash, index int, siblings []string, queues int, want Hash) error {
	if index < 0 || index >= queues || len(siblings) != treeHeight(queues) {
		return fmt.Errorf("%w: place %d of %d queues, %d hashes beside it", ErrBad, index, queues, len(siblings))
	}
	for _, s := range siblings {
		beside, err := parseHash(s)
		if err != nil {
			return err
		}
		if index&1 == 0 {
			at = node(&at, &beside)
		} else {
			at = node(&beside, &at)
		}
		index /= 2
	}
	if at != want {
		return fmt.Errorf("%w: the messages come to the root %x, the head's is %x", ErrBad, at, want)
	}
	return nil
}

func parseHash(s string) (h Hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("%w: %q is not a hash", ErrBad, s)
	}
	return Hash(b), nil
}
