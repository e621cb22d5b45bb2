package archive

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/proof"
)

// OpenReadOnly opens an archive for somebody who may only read the bucket:
// nothing is probed, and nothing is made. What it gives must not be written to.
func OpenReadOnly(ctx context.Context, b objstore.Bucket, o Options) (*Archive, error) {
	a := New(b, o)
	fail := func(err error) (*Archive, error) {
		return nil, fmt.Errorf("open archive %s to read: %w", b.URL(), err)
	}
	data, err := getObject(ctx, b, identityName, 1<<10)
	if errors.Is(err, objstore.ErrNotFound) {
		return fail(ErrNoArchive)
	}
	if err != nil {
		return fail(err)
	}
	var id identityFile
	if err := json.Unmarshal(data, &id); err != nil || id.ID == "" {
		return fail(damaged(identityName, "no identity in it (%v)", err))
	}
	if o.Identity != "" && o.Identity != id.ID {
		return fail(fmt.Errorf("%w: %s is wanted, %s is there", ErrIdentity, o.Identity, id.ID))
	}
	if data, err = getObject(ctx, b, formatName, 1<<10); err != nil {
		return fail(err)
	}
	var have formatFile
	if err := json.Unmarshal(data, &have); err != nil {
		return fail(damaged(formatName, "%w", err))
	}
	if have.Format != FormatVersion {
		return fail(fmt.Errorf("%w: version %d, this program knows %d", ErrFormat, have.Format, FormatVersion))
	}
	a.gate.open, a.gate.identity = true, id.ID
	return a, nil
}

// Incarnation is one table of a topic.
type Incarnation struct {
	Topic  string
	Number int
}

// Incarnations lists every table that a marker says exists, dropped ones too,
// by topic and number.
func (a *Archive) Incarnations(ctx context.Context) ([]Incarnation, error) {
	var out []Incarnation
	for o, err := range a.bucket.List(ctx, markerPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list archive tables: %w", err)
		}
		if p, ok := parseMarker(o.Name); ok {
			out = append(out, Incarnation{p.topic, p.incarnation})
		}
	}
	slices.SortFunc(out, func(a, b Incarnation) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Number, b.Number))
	})
	return out, nil
}

// Ledger is what a table's newest version says of its files and their proof,
// read anew from the bucket.
type Ledger struct {
	Table   *Table
	Version int64
	Retired bool
	Next    map[mq.Queue]int64
	Gaps    Gaps
	Files   []DataFile // with their proofs, by queue and offset
	Bases   []ProofBase
	Signed  map[string]SignedHead // by broker group
	Below   map[mq.Queue]int64    // Snapshot.RemovedBelow
	// Odd says what of the table's other versions does not fit this one: some of
	// a newer state are left over, or this is another's content.
	Odd []string
}

// ReadLedger reads a table, whether it was dropped or not.
func (a *Archive) ReadLedger(ctx context.Context, i Incarnation) (*Ledger, error) {
	t := newTable(a, tablePlace{i.Topic, i.Number})
	hint, err := t.readHint(ctx) // before: a commit may be made meanwhile
	if err != nil {
		return nil, err
	}
	if err := t.open(ctx); err != nil {
		return nil, err
	}
	st := t.current()
	l := &Ledger{Table: t, Version: st.version, Retired: st.retired, Next: st.snap.Next, Gaps: st.snap.Gaps, Signed: st.signed, Below: st.snap.RemovedBelow}
	for broker, s := range l.Signed {
		s.Archive = a.Identity()
		l.Signed[broker] = s
	}
	entries, err := t.entries(ctx, t.location(st.meta), st.manifests)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		l.Files = append(l.Files, e.files...)
	}
	l.Files = sortFiles(l.Files)
	if l.Bases, err = t.loadBases(ctx, st.bases); err != nil {
		return nil, err
	}
	l.Odd, err = t.oddVersions(ctx, st, hint)
	return l, err
}

// Parts gives what the file itself says that its messages give to the proof; nil
// where it was written before there was one.
func (f *File) Parts() (proof.Parts, error) {
	text, ok := f.pf.Lookup(metaProof)
	if f.data.Shared() {
		text = f.section(f.data).Proof
		ok = text != ""
	}
	if !ok {
		return nil, nil
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, damaged(f.data.Name, "%s: %w", metaProof, err)
	}
	p, err := proof.DecodeParts(raw)
	if err != nil {
		return nil, damaged(f.data.Name, "%s: %w", metaProof, err)
	}
	return p, nil
}

// AuditedRow is a row of a data file as an audit sees it. It lives until the
// next one.
type AuditedRow struct {
	Offset int64
	Record mq.Record   // as it is served
	Leaf   proof.Hash  // of Record; for an erased row of what is left of it
	Erased *proof.Hash // the leaf that the row had before its erasure; nil if it was not erased
	// Wrong says which column repeats something of the record and says another
	// thing, "" where none does.
	Wrong    string
	id       []byte
	encoding []byte // body_encoding; nil where it is null
}

// MsgID is what the row's column says.
func (r *AuditedRow) MsgID() string { return string(r.id) }

// everyColumn lists the leaf columns.
var everyColumn = func() (out []int) {
	for i := range numColumns {
		out = append(out, i)
	}
	return out
}()

// repeated are the columns that repeat something of a record, for SQL and for
// planning.
var repeated = []int{colBroker, colQueueID, colQueueOffset, colMsgID, colKeys, colTag, colBodyEncoding, colErasedHash}

// Audit reads all of the file, every column of it, and shows each row. A row
// that can't be read ends it.
func (f *File) Audit(ctx context.Context, visit func(*AuditedRow) error) error {
	c := newCursor(f, 0)
	c.all, c.seg.reuse = true, true
	c.window = f.cursors.window
	defer c.close()
	return guard(f.data.Name, func() error {
		a := auditor{cursor: c, broker: []byte(f.data.Queue.Broker)}
		for c.row < f.rows {
			if c.row%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if err := a.next(ctx); err != nil {
				return fmt.Errorf("read archive of %s at %d: %w", f.data.Queue, f.data.Offsets.From+c.row, err)
			}
			if err := visit(&a.row); err != nil {
				return err
			}
			c.row++
		}
		return nil
	})
}

// auditor makes the rows of an audit.
type auditor struct {
	*cursor
	broker []byte
	batch  mq.Batch
	hasher proof.Hasher
	row    AuditedRow
	parser *FileWriter // of rows that only the whole record can say
	erased proof.Hash
}

func (a *auditor) next(ctx context.Context) error {
	if err := a.ready(ctx, mq.Limit{}); err != nil {
		return err
	}
	a.seg.ctx = ctx
	row := a.cursor.row - a.file.groups[a.group].from
	a.batch.Body, a.batch.Count = a.batch.Body[:0], 0
	if _, err := a.rebuild(row, mq.Limit{}, &a.batch); err != nil {
		return err
	}
	for _, col := range repeated {
		if err := a.cols[col].seek(row); err != nil {
			return err
		}
	}
	r := mq.Record(a.batch.Body)
	head, body, tail := r.Parts()
	a.row = AuditedRow{Offset: a.file.data.Offsets.From + a.cursor.row, Record: r, Leaf: a.hasher.Leaf(head, body, tail)}
	if col := a.cols[colErasedHash]; col.values > 0 {
		copy(a.erased[:], col.fixed())
		a.row.Erased = &a.erased
	}
	a.row.Wrong, a.row.id = a.wrong(r), a.cols[colMsgID].bytes(0)
	if col := a.cols[colBodyEncoding]; col.values > 0 {
		a.row.encoding = col.bytes(0)
	}
	return nil
}

// wrong compares the repeated columns with the record.
func (a *auditor) wrong(r mq.Record) string {
	q := a.file.data.Queue
	switch {
	case a.cols[colQueueOffset].int64() != r.QueueOffset():
		return fmt.Sprintf("queue_offset is %d", a.cols[colQueueOffset].int64())
	case a.cols[colQueueID].int32() != q.ID:
		return fmt.Sprintf("queue_id is %d", a.cols[colQueueID].int32())
	case !bytes.Equal(a.cols[colBroker].bytes(0), a.broker):
		return fmt.Sprintf("broker is %q", a.cols[colBroker].bytes(0))
	}
	if form := a.form(); form != nil && form[0] == formWhole {
		return a.wrongOdd(r)
	}
	keys, values := a.cols[colPropertyKey], a.cols[colPropertyValue]
	var tag, words, id []byte
	var tagged, named bool
	for i := range keys.values {
		switch string(keys.bytes(i)) {
		case mq.PropTags:
			tag, tagged = values.bytes(i), true
		case mq.PropKeys:
			words = values.bytes(i)
		case mq.PropUniqKey:
			id, named = values.bytes(i), true
		}
	}
	if !named {
		return a.wrongOdd(r) // the id is made of host and position
	}
	n := 0
	for word := range bytes.FieldsSeq(words) { // here, where it costs no memory
		if !a.isKey(n, word) {
			return otherKeys
		}
		n++
	}
	return a.differ(id, tag, tagged, n)
}

const otherKeys = "keys are others than the record's"

// isKey reports whether a word is the current row's n-th key.
func (a *auditor) isKey(n int, word []byte) bool {
	col := a.cols[colKeys]
	return n < col.values && bytes.Equal(col.bytes(n), word)
}

// wrongOdd is wrong for a row whose properties don't say all: it takes the
// record apart as the writer does.
func (a *auditor) wrongOdd(r mq.Record) string {
	if a.parser == nil {
		a.parser = &FileWriter{queue: a.file.data.Queue}
	}
	w := a.parser
	w.clearBatch()
	one, err := w.parse(r)
	if err != nil {
		return err.Error()
	}
	for n, word := range w.keys[one.firstKey : one.firstKey+one.keys] {
		if !a.isKey(n, word) {
			return otherKeys
		}
	}
	return a.differ(one.msgID, one.tag, one.tag != nil, one.keys)
}

// differ compares what the columns say with what they should; keys is how many
// there are.
func (a *auditor) differ(id, tag []byte, tagged bool, keys int) string {
	if have := a.cols[colMsgID].bytes(0); !bytes.Equal(have, id) {
		return fmt.Sprintf("msg_id is %q, of the record %q", have, id)
	}
	if col := a.cols[colTag]; col.values > 0 != tagged || tagged && !bytes.Equal(col.bytes(0), tag) {
		return "tag is another than the record's"
	}
	if keys != a.cols[colKeys].values {
		return otherKeys
	}
	return ""
}
