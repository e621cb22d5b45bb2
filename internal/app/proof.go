package app

import (
	"crypto/ed25519"
	"fmt"
	"os"

	"varve/internal/config"
	"varve/internal/proof"
)

// loadProofKey reads the key that signs the archive's heads, nil where none is
// named. No error holds anything of the file.
func loadProofKey(name string) (ed25519.PrivateKey, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	var key ed25519.PrivateKey
	if err == nil {
		if key, err = proof.ParsePrivateKey(text); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	if err != nil {
		return nil, &config.Error{Key: "proof.key-file", Reason: err.Error()}
	}
	return key, nil
}
