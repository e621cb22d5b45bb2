package history

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"varve/internal/archive"
	"varve/internal/archive/audit"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/proof"
)

// TestDeletionsAreSigned, with the heads of before, as their objects are stored.
func TestDeletionsAreSigned(t *testing.T) {
	k := &kept{bucket: objtest.NewFaulty(mem.New()), now: time.Now().Truncate(time.Second)}
	a, err := archive.Open(t.Context(), k.bucket, archive.Options{ProofKey: eraseKey})
	if err != nil {
		t.Fatal(err)
	}
	store(t, a, broker, plain("t", 0, 30, k.now), 10)
	k.now = k.now.Add(time.Hour)
	k.node = newNode(t, a, nil)
	k.restart()
	k.Retainer.cfg.Key = eraseKey
	root := k.table(t).Heads()[broker].Root
	k.rule(time.Minute)
	k.apply(t)
	list, err := k.Deletions(t.Context(), "t")
	public := eraseKey.Public().(ed25519.PublicKey)
	if err != nil || len(list) != 1 || list[0].SignedBy != proof.KeyID(public) || list[0].Heads[broker] != hex.EncodeToString(root[:]) {
		t.Fatalf("%+v, %v", list, err)
	}
	get := func(name string) []byte {
		t.Helper()
		r, err := k.bucket.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var s deletionSignature
	base := strings.TrimSuffix(strings.Replace(list[0].object, "/deletions/", "/deletion-signatures/", 1), recordSuffix)
	if err := json.Unmarshal(get(base+"."+list[0].SignedBy+recordSuffix), &s); err != nil {
		t.Fatal(err)
	}
	if err := proof.VerifyDeletion(public, get(list[0].object), s.Signature); err != nil {
		t.Error(err)
	}
	ro, err := archive.OpenReadOnly(t.Context(), k.bucket, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if rep, err := audit.Run(t.Context(), ro, audit.Options{Keys: []ed25519.PublicKey{public}}); err != nil || !rep.OK {
		t.Errorf("%+v, %v", rep, err)
	}
}
