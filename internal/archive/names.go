package archive

import (
	"fmt"
	"strings"
)

// escape begins a byte that a name can't hold as it is: "!25" is "%". It is
// among the characters that S3 calls safe, no file system and no URL gives it
// a meaning, and RocketMQ's names never hold it.
const escape = '!'

// encodeName makes one part of an object name of any string, reversibly:
// letters, digits, "-" and "_" stay (but for a leading "_", which is for the
// archive's own objects), everything else is escaped.
func encodeName(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plainByte(c) && (c != '_' || i > 0) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%c%02X", escape, c)
		}
	}
	return b.String()
}

// EncodeName is how a broker group's name, or any other, stands in the names of
// the archive's objects.
func EncodeName(s string) string { return encodeName(s) }

func plainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// decodeName is the reverse of encodeName; ok is false for what it never made.
func decodeName(s string) (name string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == escape {
			var n byte
			if i+3 > len(s) {
				return "", false
			}
			if _, err := fmt.Sscanf(s[i+1:i+3], "%02X", &n); err != nil {
				return "", false
			}
			b.WriteByte(n)
			i += 2
			continue
		}
		b.WriteByte(c)
	}
	return b.String(), encodeName(b.String()) == s
}
