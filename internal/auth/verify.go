package auth

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Ext fields of a signed remoting request.
const (
	FieldAccessKey     = "AccessKey"
	FieldSignature     = "Signature"
	FieldSecurityToken = "SecurityToken"
	// fieldUnique is not part of what clients up to version 4.9.3 sign.
	fieldUnique = "_UNIQUE_KEY_QUERY"
	versionV493 = 399
)

// unknownf is a request that doesn't prove who it is from.
func (s *Store) unknownf(via protocol, format string, args ...any) error {
	s.unknown[via].Add(1)
	err := fmt.Errorf("%w: "+format, append([]any{ErrUnknown}, args...)...)
	s.tell(err)
	return err
}

// user finds who a request says it is from.
func (s *Store) user(via protocol, name string) (*principal, error) {
	p := (*s.known.Load())[name]
	switch {
	case p == nil:
		return nil, s.unknownf(via, "User:%s is not found", strings.Clone(name))
	case p.off:
		return nil, s.unknownf(via, "User:%s is disabled", p.name)
	}
	return p, nil
}

type field struct{ name, value string }

// scratch is the memory of one verification.
type scratch struct {
	fields         []field
	buf            []byte
	key, signature string
	old, token     bool
	want, have     [signatureLen]byte
	take           func(name, value string) bool // add, bound once
}

var scratches = sync.Pool{New: func() any {
	w := new(scratch)
	w.take = w.add
	return w
}}

// add takes one field of a request.
func (w *scratch) add(name, value string) bool {
	switch {
	case name == FieldSignature:
		w.signature = value
		return true
	case name == FieldAccessKey:
		w.key = value
	case name == FieldSecurityToken:
		w.token = true
	case w.old && name == fieldUnique:
		return true
	}
	w.fields = append(w.fields, field{name, value})
	return true
}

// maxScratch bounds what a pooled scratch keeps.
const maxScratch = 64 << 10

func (w *scratch) release() {
	clear(w.fields)
	w.fields, w.key, w.signature, w.token = w.fields[:0], "", "", false
	if w.buf = w.buf[:0]; cap(w.buf) > maxScratch {
		w.buf = nil
	}
	scratches.Put(w)
}

// content is the values of the fields in the order of their names, without the
// one that is left out.
func (w *scratch) content(without string) []byte {
	w.buf = w.buf[:0]
	for i := range w.fields {
		if f := &w.fields[i]; f.name != without {
			w.buf = append(w.buf, f.value...)
		}
	}
	return w.buf
}

// VerifyRemoting checks the signature of a remoting request: base64 of the
// HMAC-SHA1 over the values of its ext fields, as they were sent and in the
// order of their names, and its body. The fields are not kept.
func (s *Store) VerifyRemoting(fields iter.Seq2[string, string], body []byte, clientVersion int) (Identity, error) {
	if !s.Enabled() {
		return Anybody, nil
	}
	w := scratches.Get().(*scratch)
	defer w.release()
	w.old = clientVersion <= versionV493
	fields(w.take)
	if w.key == "" {
		return Identity{}, s.unknownf(viaRemoting, "the request is not signed: it has no %s", FieldAccessKey)
	}
	p, err := s.user(viaRemoting, w.key)
	if err != nil {
		return Identity{}, err
	}
	n := 0
	if len(w.signature) == signatureLen {
		copy(w.have[:], w.signature)
		n, err = base64.StdEncoding.Decode(w.want[:], w.have[:])
	}
	if err != nil || n != sha1.Size {
		return Identity{}, s.unknownf(viaRemoting, "User:%s: the signature is missing or malformed", p.name)
	}
	slices.SortFunc(w.fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	if w.signedBy(p, FieldSignature, body) {
		return p.identity(viaRemoting), nil
	}
	// rocketmq-client-go sends a security token and doesn't sign it.
	if w.token && w.signedBy(p, FieldSecurityToken, body) {
		return p.identity(viaRemoting), nil
	}
	return Identity{}, s.unknownf(viaRemoting, "User:%s: the signature doesn't match", p.name)
}

// signedBy compares the signature with that of the fields but one, and a body.
func (w *scratch) signedBy(p *principal, without string, body []byte) bool {
	return hmac.Equal(p.sign(w.have[:0], w.content(without), body), w.want[:sha1.Size])
}

// signatureLen is the length of a signature in base64.
const signatureLen = (sha1.Size + 2) / 3 * 4

// SignRemoting gives the ext field Signature of a request of our own.
func SignRemoting(fields iter.Seq2[string, string], body []byte, secret string) string {
	w := scratches.Get().(*scratch)
	defer w.release()
	w.old = false
	fields(w.take)
	slices.SortFunc(w.fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	h := hmac.New(sha1.New, []byte(secret))
	h.Write(w.content(FieldSignature))
	h.Write(body)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// VerifyGRPC checks the metadata of a gRPC call: authorization is
// "MQv2-HMAC-SHA1 Credential=USER[/…], SignedHeaders=x-mq-date-time,
// Signature=HEX", signed is dateTime.
func (s *Store) VerifyGRPC(authorization, dateTime string) (Identity, error) {
	if !s.Enabled() {
		return Anybody, nil
	}
	_, items, found := strings.Cut(strings.TrimSpace(authorization), " ")
	if !found {
		return Identity{}, s.unknownf(viaGRPC, "the call is not signed: it has no authorization")
	}
	var key, signature string
	for item := range strings.SplitSeq(items, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
		switch name {
		case "Credential":
			key, _, _ = strings.Cut(value, "/")
		case "Signature":
			signature = value
		}
	}
	if dateTime == "" {
		return Identity{}, s.unknownf(viaGRPC, "the call has no x-mq-date-time, which its signature is over")
	}
	p, err := s.user(viaGRPC, key)
	if err != nil {
		return Identity{}, err
	}
	want, err := hex.DecodeString(signature)
	if err != nil || !hmac.Equal(p.sign(nil, []byte(dateTime), nil), want) {
		return Identity{}, s.unknownf(viaGRPC, "User:%s: the signature doesn't match", p.name)
	}
	return p.identity(viaGRPC), nil
}

// VerifyHTTP checks the Authorization of an HTTP request: "MQ USER:SIGNATURE"
// of the aliyunmq SDKs, Basic, or Bearer with a token of Token. The body is not read: no scheme signs it.
func (s *Store) VerifyHTTP(r *http.Request) (Identity, error) {
	if !s.Enabled() {
		return Anybody, nil
	}
	header := r.Header.Get("Authorization")
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	switch {
	case strings.EqualFold(scheme, "Basic"):
		name, password, ok := r.BasicAuth()
		if !ok {
			return Identity{}, s.unknownf(viaHTTP, "the Authorization header is malformed")
		}
		return s.VerifyPassword(name, password)
	case strings.EqualFold(scheme, "Bearer"):
		return s.VerifyToken(strings.TrimSpace(rest))
	case scheme == "MQ":
		return s.verifyMQ(r, rest)
	}
	return Identity{}, s.unknownf(viaHTTP, "the request has no Authorization of scheme Basic, Bearer or MQ")
}

// VerifyPassword finds out who a user's name and password are of.
func (s *Store) VerifyPassword(name, password string) (Identity, error) {
	if !s.Enabled() {
		return Anybody, nil
	}
	p, err := s.user(viaHTTP, name)
	if err != nil {
		return Identity{}, err
	}
	if subtle.ConstantTimeCompare(digest(password), digest(string(p.secret))) != 1 {
		return Identity{}, s.unknownf(viaHTTP, "User:%s: the password doesn't match", p.name)
	}
	return p.identity(viaHTTP), nil
}

// VerifyCaller finds out who makes an HTTP request, and from where.
func (s *Store) VerifyCaller(r *http.Request) (Caller, error) {
	id, err := s.VerifyHTTP(r)
	c := Caller{Identity: id}
	if ap, bad := netip.ParseAddrPort(r.RemoteAddr); bad == nil {
		c.IP = ap.Addr().Unmap()
	}
	return c, err
}

// digest makes secrets of any length comparable in constant time.
func digest(secret string) []byte {
	d := sha1.Sum([]byte(secret))
	return d[:]
}

func (s *Store) verifyMQ(r *http.Request, credential string) (Identity, error) {
	key, signature, _ := strings.Cut(strings.TrimSpace(credential), ":")
	p, err := s.user(viaHTTP, key)
	if err != nil {
		return Identity{}, err
	}
	want, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(p.sign(nil, signedHTTP(r), nil), want) {
		return Identity{}, s.unknownf(viaHTTP, "User:%s: the signature doesn't match", p.name)
	}
	return p.identity(viaHTTP), nil
}

// signedHTTP is the text that an aliyunmq SDK signs.
func signedHTTP(r *http.Request) []byte {
	var own []string
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-mq-") {
			own = append(own, lower)
		}
	}
	slices.Sort(own)
	var b []byte
	for _, part := range []string{r.Method, r.Header.Get("Content-Md5"), r.Header.Get("Content-Type"), r.Header.Get("Date")} {
		b = append(append(b, part...), '\n')
	}
	for _, name := range own {
		b = append(append(append(append(b, name...), ':'), r.Header.Get(name)...), '\n')
	}
	resource := r.RequestURI
	if resource == "" {
		resource = r.URL.RequestURI()
	}
	return append(b, resource...)
}
