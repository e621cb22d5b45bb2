package audit

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"testing"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/proof"
)

func TestProve(t *testing.T) {
	e := fill(t)
	e.remove(queue(0), 3001)
	a, err := archive.OpenReadOnly(t.Context(), e.b, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys := []ed25519.PublicKey{public}
	for _, offsets := range []map[int32][]mq.Range{
		{0: {{From: 3001, To: 3002}}},
		{1: {{From: 50, To: 51}}, 0: {{From: 4090, To: 4100}, {From: 11_999, To: 12_000}, {From: 4095, To: 4200}}},
		{1: {{From: 50, To: 12_050}}},
		{1: {{From: 8192, To: 8193}, {From: 12_049, To: 12_050}}},
	} {
		s, err := Prove(t.Context(), a, topic, broker, offsets, true)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		read := func() (s proof.Selection) {
			if err := json.Unmarshal(data, &s); err != nil {
				t.Fatal(err)
			}
			return s
		}
		whole := read()
		// What the file says of who signed it is nobody's word, and a record that
		// stands there twice is one.
		whole.Head.Key = "deadbeefdeadbeef"
		c, err := whole.Check(keys, RecordParts)
		if err != nil || c.Records != whole.Messages || c.Key != proof.KeyID(public) {
			t.Fatalf("%+v of %d: %v", c, whole.Messages, err)
		}
		few := read()
		few.Records = few.Records[:1]
		if c, err := few.Check(keys, RecordParts); err != nil || c.Records != 1 {
			t.Fatalf("%+v: %v", c, err)
		}
		few.Records = append(few.Records, few.Records[0])
		if c, err := few.Check(keys, RecordParts); err == nil {
			t.Fatalf("a record twice: %+v", c)
		}
		for name, change := range map[string]func(*proof.Selection){
			"offset":    func(s *proof.Selection) { s.Selection[0].Offsets[0][1]-- },
			"leaf":      func(s *proof.Selection) { s.Selection[0].Blocks[0].Trees[20] ^= 1 },
			"chain":     func(s *proof.Selection) { s.Selection[0].Chain = s.Digest },
			"next":      func(s *proof.Selection) { s.Selection[0].Next++ },
			"record":    func(s *proof.Selection) { s.Records[0].Record[100] ^= 1 },
			"digest":    func(s *proof.Selection) { s.Digest = s.Head.Root },
			"head":      func(s *proof.Selection) { s.Head.At++ },
			"signature": func(s *proof.Selection) { s.Head.Signature[3] ^= 1 },
			"topic":     func(s *proof.Selection) { s.Head.Topic = "other" },
			"queue":     func(s *proof.Selection) { s.Selection[0].Queue += 7 },
		} {
			bad := read()
			change(&bad)
			if _, err := bad.Check(keys, RecordParts); err == nil {
				t.Errorf("%v: another %s was taken", offsets, name)
			}
		}
	}
	for _, offsets := range []map[int32][]mq.Range{
		{0: {{From: 3000, To: 3001}}},
		{0: {{From: 11_999, To: 12_001}}},
		{7: {{From: 0, To: 1}}},
	} {
		if _, err := Prove(t.Context(), a, topic, broker, offsets, false); !errors.Is(err, ErrNotProvable) {
			t.Errorf("%v: %v", offsets, err)
		}
	}
}
