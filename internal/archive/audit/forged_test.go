package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"testing"

	"varve/internal/archive"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/proof"
)

// forgery is the archive as somebody would leave it who may write to the bucket
// and knows the program, and has not the key: one message is another, and data
// file, hashes, manifests, states and heads are what they would be if it had
// always been there.
func forgery(t *testing.T, e *env, key ed25519.PrivateKey) *env {
	t.Helper()
	b := mem.New()
	for o, err := range e.b.List(t.Context(), "_varve/") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(o.Name, "_varve/tables/") {
			continue // the table is made anew
		}
		data := e.get(o.Name)
		if err := b.Put(t.Context(), o.Name, bytes.NewReader(data), o.Size, objstore.IfAbsent); err != nil {
			t.Fatal(err)
		}
	}
	a, err := archive.Open(t.Context(), b, archive.Options{ProofKey: key, Identity: e.a.Identity()})
	if err != nil {
		t.Fatal(err)
	}
	tbl, err := a.CreateTable(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	f := &env{t: t, b: b, a: a, tbl: tbl}
	for _, cut := range [][2]int64{{0, 3000}, {3000, 3001}, {3001, 9000}, {9000, 12_000}} {
		msgs := messages(queue(0), cut[0], cut[1])
		if cut[0] == 3001 {
			msgs[1500].Body[7] ^= 1
		}
		data, one := encodeAll(t, queue(0), msgs)
		one.Name = archive.FileName(queue(0), tbl.Root(), cut[0], one.Rows, 1)
		f.put(one.Name, data, objstore.IfAbsent)
		f.commit(nil, one, f.file(queue(1), cut[0]+50, cut[1]+50))
	}
	return f
}

// head is what the newest metadata says is signed.
func (e *env) head() string {
	var meta struct {
		Snapshots []struct {
			Summary map[string]string `json:"summary"`
		} `json:"snapshots"`
	}
	if err := json.Unmarshal(e.get(e.tbl.MetadataName()), &meta); err != nil {
		e.t.Fatal(err)
	}
	return meta.Snapshots[len(meta.Snapshots)-1].Summary["varve.proof"]
}

// claim puts another head into the newest metadata.
func (e *env) claim(head string) {
	quoted := func(s string) []byte {
		b, err := json.Marshal(s)
		if err != nil {
			e.t.Fatal(err)
		}
		return b
	}
	meta := e.get(e.tbl.MetadataName())
	made := bytes.Replace(meta, quoted(e.head()), quoted(head), 1)
	if bytes.Equal(made, meta) && head != e.head() {
		e.t.Fatal("the metadata has no such head")
	}
	e.put(e.tbl.MetadataName(), made, objstore.Always)
}

// TestAForgedArchive: a data file, its manifest and the metadata were replaced
// so that all of them fit each other. The public key is enough to notice.
func TestAForgedArchive(t *testing.T) {
	real := fill(t)
	var signed map[string]struct{ Root, Sig, Key string }
	if err := json.Unmarshal([]byte(real.head()), &signed); err != nil || signed[broker].Sig == "" {
		t.Fatal(real.head(), err)
	}
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	theirs := other.Public().(ed25519.PublicKey)
	f := forgery(t, real, other)
	if rep := f.audit(Options{Keys: []ed25519.PublicKey{theirs}}); !rep.OK || rep.Proven != 24_000 {
		t.Fatalf("the forgery does not fit itself: %+v", rep.Doubts)
	}
	f.one(f.audit(Options{}), "is not of any of the 1 public keys")

	var made map[string]struct{ Root, Sig, Key string }
	if err := json.Unmarshal([]byte(f.head()), &made); err != nil {
		t.Fatal(err)
	}
	own := f.head()
	f.claim(strings.ReplaceAll(own, proof.KeyID(theirs), proof.KeyID(public)))
	f.one(f.audit(Options{}), "is not of any of the 1 public keys")
	f.claim(strings.ReplaceAll(strings.ReplaceAll(own, made[broker].Sig, signed[broker].Sig), made[broker].Key, signed[broker].Key))
	f.one(f.audit(Options{}), "is not of any of the 1 public keys")
	f.claim(real.head()) // what was signed, over other rows
	f.one(f.audit(Options{}), "the snapshot's head is about")

	unsigned := forgery(t, real, nil)
	unsigned.one(unsigned.audit(Options{}), "the head is not signed")
	if rep := real.audit(Options{}); !rep.OK {
		t.Errorf("%+v", rep.Doubts)
	}
}
