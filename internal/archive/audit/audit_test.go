package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

var (
	testKey = ed25519.NewKeyFromSeed([]byte("0123456789abcdef0123456789abcdef"))
	public  = testKey.Public().(ed25519.PublicKey)
)

const (
	topic  = "orders"
	broker = "varve-a"
)

func queue(id int32) mq.Queue { return mq.Queue{Broker: broker, Topic: topic, ID: id} }

// message is one of a queue; its body doesn't compress, so that a file's length
// does not depend on it.
func message(q mq.Queue, offset int64) mq.Message {
	rng := rand.NewChaCha8([32]byte{byte(q.ID), byte(offset), byte(offset >> 8), byte(offset >> 16)})
	body := make([]byte, 100)
	_, _ = rng.Read(body)
	p := mq.AppendProperty(nil, mq.PropUniqKey, fmt.Sprintf("ID%d-%08d", q.ID, offset))
	p = mq.AppendProperty(p, mq.PropKeys, fmt.Sprintf("k%08d", offset))
	p = mq.AppendProperty(p, mq.PropTags, "red")
	return mq.Message{
		Topic: q.Topic, QueueID: q.ID, QueueOffset: offset, PhysicalOffset: offset * 1000, Body: body, Properties: p,
		BornTimeMillis: 1_750_000_000_000 + offset, StoreTimeMillis: 1_750_000_000_000 + offset,
		BornHost: netip.MustParseAddrPort("192.0.2.7:40001"), StoreHost: netip.MustParseAddrPort("192.0.2.1:10911"),
	}
}

// env is an archive under audit.
type env struct {
	t       *testing.T
	b       *mem.Bucket
	a       *archive.Archive
	tbl     *archive.Table
	commits int
}

func newEnv(t *testing.T, key ed25519.PrivateKey) *env {
	t.Helper()
	b := mem.New()
	a, err := archive.Open(t.Context(), b, archive.Options{ProofKey: key})
	if err != nil {
		t.Fatal(err)
	}
	tbl, err := a.CreateTable(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return &env{t: t, b: b, a: a, tbl: tbl}
}

// encodeAll makes a file of messages.
func encodeAll(t testing.TB, q mq.Queue, msgs []mq.Message) ([]byte, archive.DataFile) {
	t.Helper()
	return encodeWith(t, q, msgs, archive.FileOptions{Epoch: 1})
}

func encodeWith(t testing.TB, q mq.Queue, msgs []mq.Message, o archive.FileOptions) ([]byte, archive.DataFile) {
	t.Helper()
	var buf bytes.Buffer
	w := archive.NewFileWriter(&buf, q, o)
	for i := range msgs {
		if err := w.Add(mq.AppendRecord(nil, &msgs[i])); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), f
}

func messages(q mq.Queue, from, to int64) (out []mq.Message) {
	for o := from; o < to; o++ {
		out = append(out, message(q, o))
	}
	return out
}

// commit appends files of queue and range.
func (e *env) commit(change func(*archive.Commit), files ...archive.DataFile) {
	e.t.Helper()
	e.commits++
	c := archive.Commit{ID: fmt.Sprint("c", e.commits), Broker: broker, Epoch: 1, Files: files}
	if change != nil {
		change(&c)
	}
	if _, err := e.tbl.Append(context.Background(), c); err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) file(q mq.Queue, from, to int64) archive.DataFile {
	e.t.Helper()
	data, f := encodeAll(e.t, q, messages(q, from, to))
	f.Name = archive.FileName(q, e.tbl.Root(), from, to-from, 1)
	e.put(f.Name, data, objstore.IfAbsent)
	return f
}

func (e *env) put(name string, data []byte, c objstore.Cond) {
	e.t.Helper()
	if err := e.b.Put(context.Background(), name, bytes.NewReader(data), int64(len(data)), c); err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) get(name string) []byte {
	e.t.Helper()
	r, err := e.b.Get(context.Background(), name)
	if err != nil {
		e.t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		e.t.Fatal(err)
	}
	return data
}

// fill makes two queues of several files, cut across blocks.
func fill(t *testing.T) *env {
	e := newEnv(t, testKey)
	for _, cut := range [][2]int64{{0, 3000}, {3000, 3001}, {3001, 9000}, {9000, 12_000}} {
		e.commit(nil, e.file(queue(0), cut[0], cut[1]), e.file(queue(1), cut[0]+50, cut[1]+50))
	}
	return e
}

func (e *env) audit(o Options) *Report {
	e.t.Helper()
	a, err := archive.OpenReadOnly(context.Background(), e.b, archive.Options{})
	if err != nil {
		e.t.Fatal(err)
	}
	if o.Keys == nil {
		o.Keys = []ed25519.PublicKey{public}
	}
	rep, err := Run(context.Background(), a, o)
	if err != nil {
		e.t.Fatal(err)
	}
	return rep
}

// one demands exactly one doubt.
func (e *env) one(rep *Report, what string) Doubt {
	e.t.Helper()
	if rep.OK || len(rep.Doubts) != 1 || !strings.Contains(rep.Doubts[0].What, what) {
		e.t.Fatalf("doubts %+v, want one of %q", rep.Doubts, what)
	}
	return rep.Doubts[0]
}

func TestAnArchiveAsItWasWritten(t *testing.T) {
	e := fill(t)
	rep := e.audit(Options{})
	if !rep.OK || rep.Files != 8 || rep.Rows != 24_000 || rep.Proven != 24_000 || len(rep.NotCovered) != 0 {
		t.Errorf("%+v", rep)
	}
	if len(rep.Heads) != 1 || len(rep.Heads[0].Queues) != 2 || rep.Heads[0].Queues[1].From != 50 {
		t.Errorf("heads %+v", rep.Heads)
	}
	// Another process goes on with the chain that the bucket has.
	a, err := archive.Open(t.Context(), e.b, archive.Options{ProofKey: testKey})
	if err != nil {
		t.Fatal(err)
	}
	if e.tbl, err = a.Table(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	e.commit(nil, e.file(queue(0), 12_000, 12_500))
	if rep := e.audit(Options{Since: rep}); !rep.OK || rep.Proven != 24_500 {
		t.Errorf("%+v", rep)
	}
}

// TestWithoutProof: files of before there was a proof are said to be without.
func TestWithoutProof(t *testing.T) {
	e := newEnv(t, testKey)
	old := e.file(queue(0), 0, 100)
	old.Hashes = ""
	e.commit(nil, old)
	if rep := e.audit(Options{}); !rep.OK || rep.Proven != 0 || len(rep.NotCovered) == 0 {
		t.Errorf("%+v", rep)
	}
	e.commit(nil, e.file(queue(0), 100, 200))
	rep := e.audit(Options{})
	if !rep.OK || rep.Proven != 100 || rep.NotCovered[0].To != 100 || rep.Heads[0].Queues[0].From != 100 {
		t.Errorf("%+v", rep)
	}
}

func TestSignatures(t *testing.T) {
	e := fill(t)
	other := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	e.one(e.audit(Options{Keys: []ed25519.PublicKey{other}}), "is not of any of the 1 public keys")
	if rep := e.audit(Options{Keys: []ed25519.PublicKey{other, public}}); !rep.OK {
		t.Errorf("%+v", rep.Doubts)
	}
	unsigned := newEnv(t, nil)
	unsigned.commit(nil, unsigned.file(queue(0), 0, 10))
	if d := unsigned.one(unsigned.audit(Options{}), "the server that made it had no proof.key-file"); !d.Unsigned {
		t.Errorf("%+v", d)
	}
	// An earlier report knows that it was.
	before := &Report{Heads: []Head{{Topic: queue(0).Topic, Broker: queue(0).Broker, Key: "k1"}}}
	for _, d := range unsigned.audit(Options{Since: before}).Doubts {
		if d.Unsigned {
			t.Errorf("signed before, and said never to have been: %+v", d)
		}
	}
	if rep := unsigned.audit(Options{Keys: []ed25519.PublicKey{}}); !rep.OK || len(rep.NotCovered) != 1 {
		t.Errorf("%+v", rep)
	}
}

// TestGapsAndDeletions: what is missing by declaration or by retention is said,
// and the chain goes on over it, also when nothing of a queue is left.
func TestGapsAndDeletions(t *testing.T) {
	e := fill(t)
	q := queue(0)
	gap := mq.Range{From: 12_000, To: 12_345}
	e.commit(func(c *archive.Commit) { c.Gaps = []archive.Gap{{Queue: q, Offsets: gap}} }, e.file(q, 12_345, 12_400))
	rep := e.audit(Options{})
	if !rep.OK || len(rep.NotCovered) != 1 || rep.NotCovered[0].From != gap.From || rep.NotCovered[0].To != gap.To {
		t.Fatalf("%+v", rep)
	}
	e.remove(q, 3001)
	if rep := e.audit(Options{Since: rep}); !rep.OK || rep.NotCovered[0].To != 3001 {
		t.Fatalf("%+v", rep)
	}
	e.remove(q, 20_000)
	e.remove(queue(1), 20_000)
	if rep := e.audit(Options{Since: rep}); !rep.OK || rep.Files != 0 {
		t.Fatalf("%+v", rep)
	}
	e.commit(nil, e.file(q, 12_400, 12_500))
	if rep := e.audit(Options{}); !rep.OK || rep.Proven != 100 {
		t.Fatalf("%+v", rep)
	}
	// A process that reads the table from its start has the same.
	a, err := archive.Open(t.Context(), e.b, archive.Options{ProofKey: testKey})
	if err != nil {
		t.Fatal(err)
	}
	if e.tbl, err = a.Table(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	e.commit(nil, e.file(q, 12_500, 12_600), e.file(queue(1), 12_050, 12_060))
	if rep := e.audit(Options{}); !rep.OK || rep.Proven != 210 {
		t.Fatalf("%+v", rep)
	}
}

// remove lets retention take a queue's files below an offset.
func (e *env) remove(q mq.Queue, below int64) {
	e.t.Helper()
	var names, records []string
	for _, f := range e.tbl.Index().All() {
		if f.Queue == q && f.Offsets.To <= below {
			names = append(names, f.Name)
			records = append(records, fmt.Sprintf(`{"queue":{"Broker":%q,"Topic":%q,"ID":%d},"offsets":{"From":%d,"To":%d}}`, broker, topic, q.ID, f.Offsets.From, f.Offsets.To))
		}
	}
	e.put(fmt.Sprintf("%s/deletions/%d-%d.json", e.tbl.Root(), below, q.ID), []byte(`{"files":[`+strings.Join(records, ",")+`]}`), objstore.IfAbsent)
	if _, err := e.tbl.Delete(e.t.Context(), names, "test"); err != nil {
		e.t.Fatal(err)
	}
	for _, name := range names {
		if err := e.b.Delete(e.t.Context(), name); err != nil {
			e.t.Fatal(err)
		}
	}
}

func TestADeletionWithoutARecord(t *testing.T) {
	e := fill(t)
	if _, err := e.tbl.Delete(t.Context(), []string{e.tbl.Index().All()[0].Name}, "test"); err != nil {
		t.Fatal(err)
	}
	if d := e.one(e.audit(Options{}), "no record of a deletion"); d.From != 0 || d.To != 3000 {
		t.Errorf("%+v", d)
	}
}

// forge writes the third file of queue 0 anew, with other messages.
func (e *env) forge(change func([]mq.Message), keepHashes bool) archive.DataFile {
	e.t.Helper()
	f := e.tbl.Index().All()[2]
	old := e.get(f.Name)
	msgs := messages(f.Queue, f.Offsets.From, f.Offsets.To)
	change(msgs)
	data, made := encodeAll(e.t, f.Queue, msgs)
	if keepHashes {
		_, was := encodeAll(e.t, f.Queue, messages(f.Queue, f.Offsets.From, f.Offsets.To))
		data = bytes.Replace(data, []byte(base64.StdEncoding.EncodeToString([]byte(made.Hashes))), []byte(base64.StdEncoding.EncodeToString([]byte(was.Hashes))), 1)
	}
	if len(data) != len(old) {
		e.t.Fatalf("the forged file has %d bytes, the old one %d", len(data), len(old))
	}
	e.put(f.Name, data, objstore.Always)
	return f
}

func TestAnotherBody(t *testing.T) {
	e := fill(t)
	e.forge(func(m []mq.Message) { m[1500].Body[7] ^= 1 }, true)
	rep := e.audit(Options{})
	d := e.one(rep, "rows are not as they were committed")
	if *d.Block != 1 || d.From > 4501 || d.To <= 4501 || *d.Queue != 0 || len(d.Rows) == 0 {
		t.Errorf("%+v", d)
	}
	if !slices.ContainsFunc(d.Rows, func(r Row) bool { return r.Offset == 4501 && r.MsgID == "ID0-00004501" }) {
		t.Errorf("rows %+v", d.Rows)
	}
	if rep.Proven != 24_000-5999 {
		t.Errorf("%d rows are proven", rep.Proven)
	}
}

func TestSwappedRows(t *testing.T) {
	e := fill(t)
	e.forge(func(m []mq.Message) { m[1500].Body, m[1501].Body = m[1501].Body, m[1500].Body }, true)
	if d := e.one(e.audit(Options{}), "rows are not as they were committed"); d.From > 4501 || d.To < 4502 {
		t.Errorf("%+v", d)
	}
	e = fill(t)
	f := e.forge(func(m []mq.Message) { m[1500].Body, m[1501].Body = m[1501].Body, m[1500].Body }, false)
	if d := e.one(e.audit(Options{}), "changed together"); d.File != f.Name {
		t.Errorf("%+v", d)
	}
}

func TestAFlippedBit(t *testing.T) {
	e := fill(t)
	f := e.tbl.Index().All()[2]
	data := e.get(f.Name)
	pf, err := parquet.OpenFile(bytes.NewReader(data), f.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	// Behind the pages are indexes and filters, which no row comes from.
	columns := pf.Metadata().RowGroups[0].Columns
	last := columns[len(columns)-1].MetaData
	end := int(last.DataPageOffset + last.TotalCompressedSize)
	rng := rand.New(rand.NewPCG(5, 5))
	for range 25 {
		bad := slices.Clone(data)
		at := 4 + rng.IntN(end-4)
		bad[at] ^= 1 << rng.IntN(8)
		e.put(f.Name, bad, objstore.Always)
		if rep := e.audit(Options{}); rep.OK || rep.Doubts[0].File != f.Name {
			t.Errorf("byte %d of %d: %+v", at, len(data), rep.Doubts)
		}
	}
}

func TestAFileThatIsGone(t *testing.T) {
	e := fill(t)
	f := e.tbl.Index().All()[1]
	if err := e.b.Delete(t.Context(), f.Name); err != nil {
		t.Fatal(err)
	}
	if d := e.one(e.audit(Options{}), f.Name); d.File != f.Name {
		t.Errorf("%+v", d)
	}
}

func (e *env) delete(name string) {
	e.t.Helper()
	if err := e.b.Delete(context.Background(), name); err != nil {
		e.t.Fatal(err)
	}
}

// TestATopicThatIsGone is found by an earlier report.
func TestATopicThatIsGone(t *testing.T) {
	e := fill(t)
	first := e.audit(Options{})
	for _, prefix := range []string{"_varve/tables/", e.tbl.Root() + "/"} {
		for o := range e.b.List(t.Context(), prefix) {
			e.delete(o.Name)
		}
	}
	e.one(e.audit(Options{Since: first}), "the archive has none")
}

// merge puts one file in the place of some.
func (e *env) merge(files []archive.DataFile) archive.DataFile {
	e.t.Helper()
	var buf bytes.Buffer
	m, err := archive.MergeFiles(context.Background(), &buf, e.b, files, archive.MergeOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	m.File.Name = archive.FileName(files[0].Queue, e.tbl.Root(), m.File.Offsets.From, m.File.Rows, 1)
	e.put(m.File.Name, buf.Bytes(), objstore.IfAbsent)
	var old []string
	for _, f := range files {
		old = append(old, f.Name)
	}
	r := archive.Replacement{ID: "r", Old: old, New: []archive.DataFile{m.File}, Op: archive.ReplaceFiles}
	if _, err := e.tbl.Replace(context.Background(), r); err != nil {
		e.t.Fatal(err)
	}
	return m.File
}

// TestCompactedFiles: files that were put together carry the hashes of their
// parts, and the chain doesn't notice.
func TestCompactedFiles(t *testing.T) {
	e := fill(t)
	first := e.audit(Options{})
	m := e.merge(e.tbl.Index().Files(queue(0), mq.Range{From: 0, To: 9000}))
	if rep := e.audit(Options{Since: first}); !rep.OK || rep.Proven != 24_000 || rep.Files != 6 {
		t.Errorf("%+v", rep)
	}
	whole := messages(queue(0), 0, 9000)
	_, want := encodeAll(t, queue(0), whole)
	if m.Hashes != want.Hashes {
		t.Error("the file's hashes are not those of its rows")
	}
	e.commit(nil, e.file(queue(0), 12_000, 12_100))
	e.remove(queue(0), 9000)
	if rep := e.audit(Options{Since: first}); !rep.OK || rep.Proven != 15_100 {
		t.Errorf("%+v", rep)
	}
}
