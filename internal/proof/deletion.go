package proof

import "crypto/ed25519"

const deletionLine = "varve deletion 1\n"

// SignDeletion signs the record of a deletion, as its object has it.
func SignDeletion(key ed25519.PrivateKey, record []byte) []byte {
	return ed25519.Sign(key, append([]byte(deletionLine), record...))
}

// VerifyDeletion checks a signature of the record of a deletion.
func VerifyDeletion(key ed25519.PublicKey, record, signature []byte) error {
	return verify(key, append([]byte(deletionLine), record...), signature)
}
