package audit

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"varve/internal/archive"
	"varve/internal/proof"
)

// signatures gives the names of the signatures of records of deletions, by the
// records' base names.
func (t *tableAudit) signatures(ctx context.Context) (map[string][]string, error) {
	out := map[string][]string{}
	prefix := t.l.Table.Root() + "/deletion-signatures/"
	for o, err := range t.archive.Bucket().List(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("list signatures of deletions: %w", err)
		}
		base, _, _ := strings.Cut(strings.TrimPrefix(o.Name, prefix), ".")
		out[base] = append(out[base], o.Name)
	}
	return out, nil
}

// readDeletion reads a record of a deletion. Where it is signed and there are
// keys, one of them must have signed it: proof.ErrSignature where none did.
func (t *tableAudit) readDeletion(ctx context.Context, name string, signed map[string][]string) (d deletion, err error) {
	var raw json.RawMessage
	if err := getJSON(ctx, t.archive.Bucket(), name, &raw); err != nil {
		return d, err
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, fmt.Errorf("%s: %w: %w", name, archive.ErrDamaged, err)
	}
	signatures := signed[strings.TrimSuffix(path.Base(name), ".json")]
	if len(signatures) == 0 || len(t.o.Keys) == 0 {
		return d, nil
	}
	for _, object := range signatures {
		var s struct {
			Signature []byte `json:"signature"`
		}
		if err := getJSON(ctx, t.archive.Bucket(), object, &s); err != nil {
			return d, err
		}
		if slices.ContainsFunc(t.o.Keys, func(k ed25519.PublicKey) bool { return proof.VerifyDeletion(k, raw, s.Signature) == nil }) {
			return d, nil
		}
	}
	return d, fmt.Errorf("%w: of none of the %d public keys given", proof.ErrSignature, len(t.o.Keys))
}
