package remoting

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting of values that a header scan skips.
const maxJSONDepth = 32

// scanner reads one JSON header. Strings with escapes are resolved in place:
// the text only gets shorter.
type scanner struct {
	b []byte
	i int
}

// decodeJSON reads a header of the JSON serializer into cmd. Ext fields that
// are numbers or booleans are taken as their text; unknown members are
// skipped.
func decodeJSON(h []byte, cmd *Command) error {
	s := scanner{b: h}
	err := s.object(func(name string) error { return s.member(name, cmd) })
	if err == nil {
		if s.space(); s.i != len(s.b) {
			err = errors.New("more text after the header object")
		}
	}
	if err != nil {
		return fmt.Errorf("JSON header at byte %d: %w", s.i, err)
	}
	return nil
}

func (s *scanner) member(name string, cmd *Command) (err error) {
	switch name {
	case "code":
		cmd.Code, err = s.int()
	case "version":
		cmd.Version, err = s.int()
	case "opaque":
		var n int
		n, err = s.int()
		cmd.Opaque = int32(n)
	case "flag":
		var n int
		n, err = s.int()
		cmd.Flag = int32(n)
	case "language":
		var v string
		if v, err = s.text(); err == nil {
			cmd.Language = parseLanguage(v)
		}
	case "remark":
		var v string
		if v, err = s.text(); err == nil {
			cmd.Remark = string([]byte(v))
		}
	case "extFields":
		if s.literal("null") {
			return nil
		}
		return s.object(func(field string) error {
			if s.literal("null") {
				return nil
			}
			v, err := s.text()
			if err != nil {
				return err
			}
			return cmd.Ext.receive(field, v)
		})
	default:
		return s.skip(0)
	}
	return err
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) take(c byte) bool {
	if s.space(); s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) literal(word string) bool {
	s.space()
	if len(s.b)-s.i >= len(word) && string(s.b[s.i:s.i+len(word)]) == word {
		s.i += len(word)
		return true
	}
	return false
}

// object calls member with the scan standing at each member's value.
func (s *scanner) object(member func(name string) error) error {
	if !s.take('{') {
		return errors.New("want an object")
	}
	if s.take('}') {
		return nil
	}
	for {
		s.space()
		name, err := s.string()
		if err != nil {
			return err
		}
		if !s.take(':') {
			return errors.New("want a colon")
		}
		if err := member(name); err != nil {
			return err
		}
		switch {
		case s.take(','):
		case s.take('}'):
			return nil
		default:
			return errors.New("want a comma or the object's end")
		}
	}
}

// string reads a quoted string.
func (s *scanner) string() (string, error) {
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		return "", errors.New("want a string")
	}
	s.i++
	start := s.i
	for ; s.i < len(s.b); s.i++ {
		switch s.b[s.i] {
		case '"':
			v := s.b[start:s.i]
			s.i++
			return aliasString(v), nil
		case '\\':
			return s.escaped(start)
		}
	}
	return "", errors.New("string has no end")
}

// escaped resolves the rest of a string that began at start, from its first
// escape on.
func (s *scanner) escaped(start int) (string, error) {
	w := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case '"':
			s.i++
			return aliasString(s.b[start:w]), nil
		case '\\':
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			w += utf8.EncodeRune(s.b[w:s.i], r)
		default:
			s.b[w] = c
			w++
			s.i++
		}
	}
	return "", errors.New("string has no end")
}

const escapeLetters = `"\/bfnrt'`

var escapeRunes = [...]rune{'"', '\\', '/', '\b', '\f', '\n', '\r', '\t', '\''}

// escape reads one escape, surrogate pairs as one.
func (s *scanner) escape() (rune, error) {
	if s.i+1 >= len(s.b) {
		return 0, errors.New("escape is cut off")
	}
	c := s.b[s.i+1]
	if c != 'u' {
		k := bytes.IndexByte([]byte(escapeLetters), c)
		if k < 0 {
			return 0, fmt.Errorf("unknown escape %q", c)
		}
		s.i += 2
		return escapeRunes[k], nil
	}
	r, err := hex4(s.b[s.i+2:])
	if err != nil {
		return 0, err
	}
	s.i += 6
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if s.i+6 <= len(s.b) && s.b[s.i] == '\\' && s.b[s.i+1] == 'u' {
		if low, err := hex4(s.b[s.i+2:]); err == nil {
			if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
				s.i += 6
				return full, nil
			}
		}
	}
	return utf8.RuneError, nil
}

func hex4(b []byte) (rune, error) {
	if len(b) < 4 {
		return 0, errors.New("escape is cut off")
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, fmt.Errorf("%q is no hex digit", c)
		}
	}
	return r, nil
}

// text reads a string, or a number or word as its text; null is "".
func (s *scanner) text() (string, error) {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == '"' {
		return s.string()
	}
	start := s.i
	for s.i < len(s.b) && isWord(s.b[s.i]) {
		s.i++
	}
	if s.i == start {
		return "", errors.New("want a string or a number")
	}
	if v := aliasString(s.b[start:s.i]); v != "null" {
		return v, nil
	}
	return "", nil
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '+' || c == '.'
}

func (s *scanner) int() (int, error) {
	v, err := s.text()
	if err != nil || v == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no 32-bit integer", string([]byte(v)))
	}
	return int(n), nil
}

// skip passes over any value.
func (s *scanner) skip(depth int) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	s.space()
	if s.i >= len(s.b) {
		return errors.New("want a value")
	}
	switch s.b[s.i] {
	case '{':
		return s.object(func(string) error { return s.skip(depth + 1) })
	case '[':
		s.i++
		if s.take(']') {
			return nil
		}
		for {
			if err := s.skip(depth + 1); err != nil {
				return err
			}
			if s.take(']') {
				return nil
			}
			if !s.take(',') {
				return errors.New("want a comma or the array's end")
			}
		}
	default:
		_, err := s.text()
		return err
	}
}

// salvageOpaque looks for the opaque number in a frame whose header can't be
// decoded, so that its sender needn't wait for a timeout.
func salvageOpaque(frame []byte) (int32, bool) {
	i := bytes.Index(frame, []byte(`"opaque":`))
	if i < 0 {
		return 0, false
	}
	s := scanner{b: frame, i: i + len(`"opaque":`)}
	n, err := s.int()
	return int32(n), err == nil
}

func appendJSON(dst []byte, cmd *Command) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(cmd.Code), 10)
	if len(cmd.Ext.pairs) > 0 {
		dst = append(dst, `,"extFields":{`...)
		for i := range cmd.Ext.pairs {
			p := &cmd.Ext.pairs[i]
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendQuoted(dst, p.name)
			dst = append(dst, ':')
			if p.isNum {
				dst = append(dst, '"')
				dst = strconv.AppendInt(dst, p.num, 10)
				dst = append(dst, '"')
			} else {
				dst = appendQuoted(dst, p.value)
			}
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `,"flag":`...)
	dst = strconv.AppendInt(dst, int64(cmd.Flag), 10)
	dst = append(dst, `,"language":"`...)
	dst = append(dst, cmd.Language.String()...)
	dst = append(dst, `","opaque":`...)
	dst = strconv.AppendInt(dst, int64(cmd.Opaque), 10)
	if cmd.Remark != "" {
		dst = append(dst, `,"remark":`...)
		dst = appendQuoted(dst, cmd.Remark)
	}
	dst = append(dst, `,"serializeTypeCurrentRPC":"JSON","version":`...)
	dst = strconv.AppendInt(dst, int64(cmd.Version), 10)
	return append(dst, '}')
}

const hexDigits = "0123456789ABCDEF"

func appendQuoted(dst []byte, v string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, v[start:i]...)
		if c >= 0x20 {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		start = i + 1
	}
	dst = append(dst, v[start:]...)
	return append(dst, '"')
}
