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

// What an audit reads before it hashes: enough for pairs of messages, and not
// more than the processor's cache has room for.
const (
	auditRows  = 64
	auditBytes = 128 << 10
)

// Audit reads all of the file, every column of it, and shows each row. A row
// that can't be read ends it, behind those before it.
func (f *File) Audit(ctx context.Context, visit func(*AuditedRow) error) error {
	c := newCursor(f, 0)
	c.all, c.seg.reuse = true, true
	c.window = f.cursors.window
	defer c.close()
	return guard(f.data.Name, func() error {
		a := auditor{cursor: c, broker: []byte(f.data.Queue.Broker), rows: make([]auditRow, 0, auditRows)}
		for c.row < f.rows {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			err := guard(f.data.Name, func() error { return a.read(ctx) })
			a.hash()
			for i := range a.rows {
				if err := visit(&a.rows[i].AuditedRow); err != nil {
					return err
				}
			}
			if err != nil {
				return fmt.Errorf("read archive of %s at %d: %w", f.data.Queue, f.data.Offsets.From+c.row, err)
			}
		}
		return nil
	})
}

// auditor makes the rows of an audit, some at a time.
type auditor struct {
	*cursor
	broker []byte
	batch  mq.Batch
	rows   []auditRow // at most auditRows: they never move
	hasher proof.Hasher
	parser *FileWriter // of rows that only the whole record can say
	texts  []byte      // of the rows' ids and encodings
}

// auditRow is a row whose record ends in the auditor's batch where end says.
type auditRow struct {
	AuditedRow
	end    int
	erased proof.Hash
}

// read reads the next rows. Those before one that can't be read are there.
func (a *auditor) read(ctx context.Context) error {
	a.batch.Body, a.rows, a.texts = a.batch.Body[:0], a.rows[:0], a.texts[:0]
	a.seg.ctx = ctx
	for len(a.rows) < auditRows && len(a.batch.Body) < auditBytes && a.cursor.row < a.file.rows {
		if err := a.next(ctx); err != nil {
			return err
		}
		a.cursor.row++
	}
	return nil
}

// hash finds the leaves of the rows that were read.
func (a *auditor) hash() {
	at := 0
	for i := range a.rows {
		one := &a.rows[i]
		one.Record = mq.Record(a.batch.Body[at:one.end:one.end])
		a.hasher.Add(one.Record.Parts())
		at = one.end
	}
	for i, leaf := range a.hasher.Leaves() {
		a.rows[i].Leaf = leaf
	}
}

// next reads a row.
func (a *auditor) next(ctx context.Context) error {
	if err := a.ready(ctx, mq.Limit{}); err != nil {
		return err
	}
	row := a.cursor.row - a.file.groups[a.group].from
	at := len(a.batch.Body)
	if _, err := a.rebuild(row, mq.Limit{}, &a.batch); err != nil {
		return err
	}
	for _, col := range repeated {
		if err := a.cols[col].seek(row); err != nil {
			return err
		}
	}
	a.rows = append(a.rows, auditRow{end: len(a.batch.Body)})
	one := &a.rows[len(a.rows)-1]
	one.Offset = a.file.data.Offsets.From + a.cursor.row
	one.Wrong = a.wrong(mq.Record(a.batch.Body[at:]))
	one.id = a.keep(a.cols[colMsgID].bytes(0))
	if col := a.cols[colErasedHash]; col.values > 0 {
		copy(one.erased[:], col.fixed())
		one.Erased = &one.erased
	}
	if col := a.cols[colBodyEncoding]; col.values > 0 {
		one.encoding = a.keep(col.bytes(0))
	}
	return nil
}

// keep copies a column's value, whose page may be gone before its row is shown.
func (a *auditor) keep(b []byte) []byte {
	at := len(a.texts)
	a.texts = append(a.texts, b...)
	return a.texts[at:len(a.texts):len(a.texts)]
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
	if a.cols[colKeys].values == 1 && oneWord(words) && a.isKey(0, words) {
		return a.differ(id, tag, tagged, 1)
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

// oneWord reports whether a text is of visible ASCII alone: words are parted by
// spaces of every kind.
func oneWord(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(b) > 0
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
