package archive

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"varve/internal/mq"
	"varve/internal/proof"
)

// SignedHead is a broker group's statement about its queues, as its newest
// commit made it.
type SignedHead struct {
	proof.Statement
	KeyID     string // of the key that signed, "" where none did
	Signature []byte
}

// ProofBase is a queue's state in front of a file whose predecessor retention
// took, or where it goes on if no file is left.
type ProofBase struct {
	Queue mq.Queue
	State proof.State
	// Gaps are the declared ones before it, which the snapshots forget.
	Gaps []mq.Range
}

// proven is a queue's proof up to the table's next offset.
type proven struct {
	state proof.State
	head  proof.Hash
}

// heads are the proofs of a table's queues. A queue that has none is proven
// from its next offset on.
type heads map[mq.Queue]proven

func (h heads) of(q mq.Queue, next int64) proven {
	if p, ok := h[q]; ok && p.state.Next == next {
		return p
	}
	s := proof.Begin(next)
	return proven{s, s.Head()}
}

// extend takes a queue's proof on over a file, and gives the file as its entry
// describes it. A file without parts breaks the proof: it begins anew behind it.
func (h heads) extend(f DataFile) (DataFile, error) {
	parts := f.Hashes
	f.Hashes, f.Proof = "", ""
	if parts == "" {
		s := proof.Begin(f.Offsets.To)
		h[f.Queue] = proven{s, s.Head()}
		return f, nil
	}
	s := h[f.Queue].state
	if s.From == s.Next { // nothing is proven before
		s = proof.Begin(f.Offsets.From)
	}
	decoded, err := proof.DecodeParts([]byte(parts))
	if err == nil {
		s, err = s.Append(decoded, f.Offsets.From, f.Offsets.To)
	}
	if err != nil {
		return f, fmt.Errorf("proof of %s: %w", f.Name, err)
	}
	h[f.Queue] = proven{s, s.Head()}
	f.Proof = string(s.Encode())
	return f, nil
}

// learn takes what the entries of files say, the newest of each queue.
func (h heads) learn(files map[FileID]DataFile) error {
	newest := map[mq.Queue]DataFile{}
	for _, f := range files {
		if have, ok := newest[f.Queue]; !ok || f.Offsets.To > have.Offsets.To {
			newest[f.Queue] = f
		}
	}
	for q, f := range newest {
		if have, ok := h[q]; ok && have.state.Next >= f.Offsets.To {
			continue
		}
		s := proof.Begin(f.Offsets.To)
		if f.Proof != "" {
			var err error
			if s, err = proof.DecodeState([]byte(f.Proof)); err != nil {
				return damaged(f.Name, "its manifest entry: %w", err)
			}
		}
		h[q] = proven{s, s.Head()}
	}
	return nil
}

// queueHeads gives the heads of a broker group's queues, by id.
func (h heads) queueHeads(broker string, next map[mq.Queue]int64) []proof.QueueHead {
	var out []proof.QueueHead
	for q, off := range next {
		if q.Broker == broker {
			p := h.of(q, off)
			out = append(out, proof.QueueHead{ID: q.ID, From: p.state.From, Next: p.state.Next, Head: p.head})
		}
	}
	slices.SortFunc(out, func(a, b proof.QueueHead) int { return int(a.ID) - int(b.ID) })
	return out
}

// sign makes the statement about a broker group's queues after a draft.
func (t *Table) sign(st *state, d *draft, broker string, h heads) {
	queues := h.queueHeads(broker, d.next)
	s := SignedHead{Statement: proof.Statement{
		Archive: t.archive.Identity(), Topic: t.place.topic, Incarnation: t.place.incarnation, Broker: broker,
		Epoch: d.fences[broker], Millis: t.now(st), Queues: len(queues), Root: proof.QueuesRoot(queues),
	}}
	if k := t.opts.ProofKey; k != nil {
		s.KeyID, s.Signature = proof.KeyID(publicKey(k)), s.Sign(k)
	}
	if d.signed == nil {
		d.signed = map[string]SignedHead{}
	}
	d.signed[broker] = s
}

// Heads gives what the broker groups state of their queues, by group.
func (t *Table) Heads() map[string]SignedHead { return maps.Clone(t.current().signed) }

// signedJSON is a SignedHead in a summary; the rest is known from where it stands.
type signedJSON struct {
	Root   string `json:"root"`
	Queues int    `json:"queues"`
	Epoch  int64  `json:"epoch"`
	At     int64  `json:"at"`
	Key    string `json:"key,omitempty"`
	Sig    string `json:"sig,omitempty"`
}

func encodeSigned(m map[string]SignedHead) string {
	out := map[string]signedJSON{}
	for broker, s := range m {
		out[broker] = signedJSON{
			hex.EncodeToString(s.Root[:]), s.Queues, s.Epoch, s.Millis, s.KeyID, base64.StdEncoding.EncodeToString(s.Signature),
		}
	}
	b, _ := json.Marshal(out) // texts and numbers
	return string(b)
}

func decodeSigned(p tablePlace, text string) (map[string]SignedHead, error) {
	if text == "" {
		return nil, nil
	}
	var in map[string]signedJSON
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, err
	}
	out := map[string]SignedHead{}
	for broker, j := range in {
		s := SignedHead{Statement: proof.Statement{
			Topic: p.topic, Incarnation: p.incarnation, Broker: broker, Epoch: j.Epoch, Millis: j.At, Queues: j.Queues,
		}, KeyID: j.Key}
		root, err := hex.DecodeString(j.Root)
		if err == nil && len(root) != len(s.Root) {
			err = fmt.Errorf("root of %d bytes", len(root))
		}
		if err == nil {
			copy(s.Root[:], root)
			s.Signature, err = base64.StdEncoding.DecodeString(j.Sig)
		}
		if err != nil {
			return nil, fmt.Errorf("broker %s: %w", broker, err)
		}
		out[broker] = s
	}
	return out, nil
}

// Bases are an object of their own: "metadata/<uuid>.proof" under the table's
// root, made anew by each deletion.
const basesSuffix = ".proof"

type basesJSON struct {
	Version int        `json:"version"` // 1
	States  []baseJSON `json:"states"`
}

type baseJSON struct {
	Broker string `json:"broker"`
	Queue  int32  `json:"queue"`
	State  []byte `json:"state"`

	Gaps [][2]int64 `json:"gaps,omitempty"`
}

// loadBases reads the bases that a state names; none where it names none.
func (t *Table) loadBases(ctx context.Context, name string) ([]ProofBase, error) {
	if name == "" {
		return nil, nil
	}
	name = t.root + "/metadata/" + name
	data, err := getObject(ctx, t.bucket, name, maxMetadataLength)
	if err != nil {
		return nil, err
	}
	var in basesJSON
	if err := json.Unmarshal(data, &in); err != nil || in.Version != 1 {
		return nil, damaged(name, "states of version %d: %w", in.Version, err)
	}
	out := make([]ProofBase, len(in.States))
	for i, b := range in.States {
		s, err := proof.DecodeState(b.State)
		if err != nil {
			return nil, damaged(name, "%w", err)
		}
		out[i] = ProofBase{Queue: mq.Queue{Broker: b.Broker, Topic: t.place.topic, ID: b.Queue}, State: s}
		for _, g := range b.Gaps {
			out[i].Gaps = append(out[i].Gaps, mq.Range{From: g[0], To: g[1]})
		}
	}
	return out, nil
}

func (t *Table) storeBases(ctx context.Context, bases []ProofBase) (string, error) {
	if len(bases) == 0 {
		return "", nil
	}
	doc := basesJSON{Version: 1}
	for _, b := range bases {
		one := baseJSON{Broker: b.Queue.Broker, Queue: b.Queue.ID, State: b.State.Encode()}
		for _, g := range b.Gaps {
			one.Gaps = append(one.Gaps, [2]int64{g.From, g.To})
		}
		doc.States = append(doc.States, one)
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return "", err
	}
	name := uuid.NewString() + basesSuffix
	return name, putObject(ctx, t.bucket, t.root+"/metadata/"+name, data)
}

// rebase gives the bases after a deletion: for each file whose predecessor is
// gone the queue's state before it, and for a queue without files its last.
func (t *Table) rebase(old []ProofBase, gone []DataFile, gaps Gaps) ([]ProofBase, error) {
	states := map[mq.Queue][]proof.State{}
	missing := gaps.clone()
	for _, b := range old {
		states[b.Queue] = append(states[b.Queue], b.State)
		for _, g := range b.Gaps {
			if !slices.Contains(missing[b.Queue], g) {
				missing.add(Gap{b.Queue, g})
			}
		}
	}
	names := map[string]bool{}
	for _, f := range gone {
		names[f.Name] = true
		if f.Proof == "" {
			continue
		}
		s, err := proof.DecodeState([]byte(f.Proof))
		if err != nil {
			return nil, damaged(f.Name, "its manifest entry: %w", err)
		}
		states[f.Queue] = append(states[f.Queue], s)
	}
	var out []ProofBase
	for _, q := range slices.SortedFunc(maps.Keys(states), compareQueues) {
		out = append(out, rebaseQueue(q, states[q], t.index.files(q), names, missing[q])...)
	}
	return out, nil
}

func rebaseQueue(q mq.Queue, states []proof.State, files []DataFile, gone map[string]bool, gaps []mq.Range) (out []ProofBase) {
	slices.SortFunc(states, func(a, b proof.State) int { return int(min(max(a.Next-b.Next, -1), 1)) })
	base := func(s proof.State, upTo int64) {
		b := ProofBase{Queue: q, State: s}
		for _, g := range gaps {
			if g.To <= upTo {
				b.Gaps = append(b.Gaps, g)
			}
		}
		out = append(out, b)
	}
	end, left := int64(-1), 0
	for _, f := range files {
		if gone[f.Name] {
			continue
		}
		if s, ok := lastWithin(states, end, f.Offsets.From); ok {
			base(s, f.Offsets.From)
		}
		end, left = f.Offsets.To, left+1
	}
	if left == 0 {
		last := states[len(states)-1]
		base(last, last.Next)
	}
	return out
}

// lastWithin gives the latest of some states, in order, that is behind an offset
// and not behind another.
func lastWithin(list []proof.State, behind, upTo int64) (s proof.State, ok bool) {
	for _, one := range list {
		if one.Next > behind && one.Next <= upTo {
			s, ok = one, true
		}
	}
	return s, ok
}

// newBases stores the bases that a deletion leaves, where it changes them.
func (t *Table) newBases(ctx context.Context, st *state, gone []DataFile) (string, error) {
	if !slices.ContainsFunc(gone, func(f DataFile) bool { return f.Proof != "" }) && st.bases == "" {
		return "", nil
	}
	old, err := t.loadBases(ctx, st.bases)
	if err != nil {
		return "", fmt.Errorf("proof: %w", err)
	}
	bases, err := t.rebase(old, gone, st.snap.Gaps)
	if err != nil {
		return "", err
	}
	return t.storeBases(ctx, bases)
}

// prove finds the queues' proofs of a state that is about to be taken: those of
// the state before where going on from it, and what the new entries say.
func (t *Table) prove(ctx context.Context, st *state, goOn bool, came map[FileID]DataFile) error {
	st.heads = heads{}
	if goOn && t.state != nil {
		maps.Copy(st.heads, t.state.heads)
	} else {
		bases, err := t.loadBases(ctx, st.bases)
		if err != nil {
			return err
		}
		for _, b := range bases {
			if have, ok := st.heads[b.Queue]; !ok || have.state.Next < b.State.Next {
				st.heads[b.Queue] = proven{b.State, b.State.Head()}
			}
		}
	}
	return st.heads.learn(came)
}

func withoutProof(files []DataFile) []DataFile {
	out := slices.Clone(files)
	for i := range out {
		out[i].Hashes, out[i].Proof = "", ""
	}
	return out
}

func publicKey(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// hash begins with a record's leaf in the proof: of the record as it will be
// served, or as it was before it was erased. What needs no other record than r is
// hashed with the batch.
func (w *FileWriter) hash(r mq.Record, one *row) error {
	if one.erased != nil {
		one.leaf = (*proof.Hash)(one.erased)
		return nil
	}
	head, body, tail := r.Parts()
	if one.encoding == nil || one.sysFlag == r.SysFlag() {
		w.hasher.Add(head, body, tail)
		return nil
	}
	w.restored = append(append(w.restored[:0], head...), tail...)
	n := len(w.restored)
	var err error
	if w.restored, err = mq.JoinRecord(w.restored, w.restored, one.body, one.sysFlag, one.bodyCRC); err != nil {
		return err
	}
	leaf := w.hasher.Leaf(mq.Record(w.restored[n:]).Parts())
	one.leaf = &leaf
	return nil
}

// prove gives the batch's leaves to the proof.
func (w *FileWriter) prove() {
	leaves := w.hasher.Leaves()
	for i := range w.rows {
		one := &w.rows[i]
		if one.leaf != nil {
			w.proof.Add(one.queueOffset, *one.leaf)
			continue
		}
		w.proof.Add(one.queueOffset, leaves[0])
		leaves = leaves[1:]
	}
}

// inherit gives files the proofs of those in whose place they come: a queue's
// state behind an offset is the same, however it is cut into files. So a new
// file ends where an old one did.
func inherit(files, old []DataFile) error {
	type end struct {
		queue mq.Queue
		at    int64
	}
	have := map[end]string{}
	for _, f := range old {
		have[end{f.Queue, f.Offsets.To}] = f.Proof
	}
	for i := range files {
		f := &files[i]
		p, ok := have[end{f.Queue, f.Offsets.To}]
		if !ok && slices.ContainsFunc(old, func(o DataFile) bool { return o.Queue == f.Queue && o.Proof != "" }) {
			return fmt.Errorf("%w: %s ends at offset %d, where none of the old ones does, and its proof is not known there", errOtherOffsets, f.Name, f.Offsets.To)
		}
		f.Hashes, f.Proof = "", p
	}
	return nil
}

// joinHashes gives the hashes of a file that is made of others, none where one
// of them has none.
func joinHashes(list []proof.Parts) (out proof.Parts, err error) {
	for _, p := range list {
		if len(p) == 0 {
			return nil, nil
		}
		if out, err = proof.Join(out, p); err != nil {
			return nil, err
		}
	}
	return out, nil
}
