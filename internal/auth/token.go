package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// tokenLife is how long a token is good for.
const tokenLife = time.Hour

// tokenBase is the coding of a token's three parts.
var tokenBase = base64.RawURLEncoding

// Token gives a user something to show in place of the password, for tokenLife:
// "Authorization: Bearer" of HTTP takes it. A restart of the process, another
// password and the end of the user all end it.
func (s *Store) Token(id Identity) (token string, life time.Duration, err error) {
	p, err := s.user(viaHTTP, id.User)
	if err != nil {
		return "", 0, err
	}
	until := binary.BigEndian.AppendUint64(nil, uint64(s.now().Add(tokenLife).Unix()))
	parts := []string{
		tokenBase.EncodeToString([]byte(p.name)), tokenBase.EncodeToString(until), tokenBase.EncodeToString(s.stamp(p, until)),
	}
	return strings.Join(parts, "."), tokenLife, nil
}

// VerifyToken finds out who a token was given to.
func (s *Store) VerifyToken(token string) (Identity, error) {
	parts := strings.Split(token, ".")
	var raw [3][]byte
	ok := len(parts) == len(raw)
	for i := 0; ok && i < len(raw); i++ {
		var err error
		raw[i], err = tokenBase.DecodeString(parts[i])
		ok = err == nil
	}
	if !ok || len(raw[1]) != 8 {
		return Identity{}, s.unknownf(viaHTTP, "the token is none of this server's")
	}
	p, err := s.user(viaHTTP, string(raw[0]))
	if err != nil {
		return Identity{}, err
	}
	if !hmac.Equal(s.stamp(p, raw[1]), raw[2]) {
		return Identity{}, s.unknownf(viaHTTP, "User:%s: the token is none of this server's, or of an earlier password or start", p.name)
	}
	if until := time.Unix(int64(binary.BigEndian.Uint64(raw[1])), 0); !s.now().Before(until) {
		return Identity{}, s.unknownf(viaHTTP, "User:%s: the token has ended at %s", p.name, until.UTC().Format(time.RFC3339))
	}
	return p.identity(viaHTTP), nil
}

// stamp is what only this process can make of a user's name, its password and a
// token's end.
func (s *Store) stamp(p *principal, until []byte) []byte {
	h := hmac.New(sha256.New, s.own.secret)
	fmt.Fprintf(h, "%d %s %d %s ", len(p.name), p.name, len(p.secret), p.secret)
	h.Write(until)
	return h.Sum(nil)
}
