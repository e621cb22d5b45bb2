package objstore

import (
	"fmt"
	"strings"
)

// Limits of an object's name, the tightest of the stores.
const (
	MaxNameLen = 1024
	MaxPartLen = 240 // a local file name holds 255 bytes
)

// CheckName reports why a name cannot be an object's, nil if it can: it is a
// list of parts joined by "/", none of them empty, "." or "..", in printable
// ASCII without backslash. A first part that begins with "." is for the
// store's own use.
func CheckName(name string) error {
	bad := func(why string) error { return fmt.Errorf("%w %q: %s", ErrBadName, name, why) }
	if name == "" {
		return bad("empty")
	}
	if len(name) > MaxNameLen {
		return fmt.Errorf("%w of %d bytes: the limit is %d", ErrBadName, len(name), MaxNameLen)
	}
	if name[0] == '.' {
		return bad("begins with a dot")
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < 0x20 || c > 0x7E || c == '\\' {
			return bad(fmt.Sprintf("byte %#02x at %d", c, i))
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "":
			return bad("empty part")
		case part == ".", part == "..":
			return bad("part " + part)
		case len(part) > MaxPartLen:
			return bad(fmt.Sprintf("part of %d bytes, the limit is %d", len(part), MaxPartLen))
		}
	}
	return nil
}
