package typed

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// jsonReader reads a JSON body in one pass: what has no column is checked and
// passed over.
type jsonReader struct {
	d    *Decoder
	data []byte
	pos  int
	seen [][]bool // a set of fields for each struct that is open
	open int
}

func (j *jsonReader) append(d *Decoder, body []byte) error {
	j.d, j.data, j.pos, j.open = d, body, 0, 0
	defer func() { j.data = nil }()
	if !utf8.Valid(body) {
		return errors.New("not JSON: not UTF-8")
	}
	j.space()
	if j.peek() != '{' {
		if err := j.skip(0); err != nil {
			return err
		}
		if err := j.end(); err != nil {
			return err
		}
		return errors.New("not an object")
	}
	if err := j.object(d.layout.root, 0, 1); err != nil {
		return err
	}
	return j.end()
}

// end checks that nothing follows.
func (j *jsonReader) end() error {
	j.space()
	if j.pos < len(j.data) {
		return j.bad("something follows the value")
	}
	return nil
}

func (j *jsonReader) bad(what string) error {
	return fmt.Errorf("not JSON: byte %d: %s", j.pos, what)
}

func (j *jsonReader) space() {
	for j.pos < len(j.data) {
		switch j.data[j.pos] {
		case ' ', '\n', '\r', '\t':
			j.pos++
		default:
			return
		}
	}
}

// peek gives the next byte, 0 at the end.
func (j *jsonReader) peek() byte {
	if j.pos < len(j.data) {
		return j.data[j.pos]
	}
	return 0
}

// value reads the value of a node whose parent has a level.
func (j *jsonReader) value(n *node, rep, parent, depth int) error {
	if depth > maxNested {
		return fmt.Errorf("nested deeper than %d", maxNested)
	}
	if err := j.d.spend(1); err != nil {
		return err
	}
	c := j.peek()
	if c == 'n' {
		if err := j.word("null"); err != nil {
			return err
		}
		if n.Must {
			return fmt.Errorf("null, want %s", n.Type)
		}
		j.d.nulls(n, rep, parent)
		return nil
	}
	if n.Text {
		from := j.pos
		if err := j.skip(depth); err != nil {
			return err
		}
		j.d.bytes(n, rep, j.data[from:j.pos])
		return nil
	}
	switch k := n.Type.Kind; {
	case c == '{' && k == Struct:
		return j.object(n, rep, depth)
	case c == '{' && k == Map:
		return j.dictionary(n, rep, depth)
	case c == '[' && k == List:
		return j.array(n, rep, depth)
	case c == '"' && k < Struct:
		s, err := j.text()
		if err != nil {
			return err
		}
		return j.d.fromText(n, rep, s)
	case (c == 't' || c == 'f') && k == Boolean:
		b, word := int64(1), "true"
		if c == 'f' {
			b, word = 0, "false"
		}
		j.d.num(n, rep, b)
		return j.word(word)
	case c == '-' || c >= '0' && c <= '9':
		return j.number(n, rep)
	}
	return j.misfit(n, depth)
}

// misfit says what stands where another type is wanted.
func (j *jsonReader) misfit(n *node, depth int) error {
	from := j.pos
	if err := j.skip(depth); err != nil {
		return err
	}
	what := map[byte]string{'{': "an object", '[': "a list", '"': "a string", 't': "a boolean", 'f': "a boolean"}[j.data[from]]
	return fmt.Errorf("%s, want %s", what, n.Type)
}

func (j *jsonReader) number(n *node, rep int) error {
	s, whole, err := j.digits()
	if err != nil {
		return err
	}
	switch n.Type.Kind {
	case Int, Long:
		if whole {
			v, err := strconv.ParseInt(string(s), 10, 64)
			if err != nil {
				return fmt.Errorf("%.40s is out of the range of %s", s, n.Type)
			}
			return j.d.integer(n, rep, v)
		}
		f, err := strconv.ParseFloat(string(s), 64)
		if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return fmt.Errorf("%.40s is not a whole number, want %s", s, n.Type)
		}
		return j.d.integer(n, rep, int64(f))
	case Float, Double:
		f, err := strconv.ParseFloat(string(s), 64)
		if err != nil {
			return fmt.Errorf("%.40s is out of the range of %s", s, n.Type)
		}
		return j.d.double(n, rep, f)
	case Decimal:
		d, err := parseDecimal(string(s))
		if err != nil {
			return err
		}
		return j.d.decimalOf(n, rep, d)
	}
	return fmt.Errorf("a number, want %s", n.Type)
}

// digits reads a number; whole is false where it has a fraction or an exponent.
func (j *jsonReader) digits() (s []byte, whole bool, err error) {
	from := j.pos
	if j.peek() == '-' {
		j.pos++
	}
	if j.peek() == '0' {
		j.pos++
	} else if j.run() == 0 {
		return nil, false, j.bad("no digit in a number")
	}
	whole = true
	if j.peek() == '.' {
		whole = false
		if j.pos++; j.run() == 0 {
			return nil, false, j.bad("no digit behind a point")
		}
	}
	if c := j.peek(); c == 'e' || c == 'E' {
		whole = false
		j.pos++
		if c := j.peek(); c == '+' || c == '-' {
			j.pos++
		}
		if j.run() == 0 {
			return nil, false, j.bad("no digit in an exponent")
		}
	}
	return j.data[from:j.pos], whole, nil
}

func (j *jsonReader) run() (n int) {
	for j.pos < len(j.data) && j.data[j.pos] >= '0' && j.data[j.pos] <= '9' {
		j.pos++
		n++
	}
	return n
}

func (j *jsonReader) word(w string) error {
	if !bytes.HasPrefix(j.data[j.pos:], []byte(w)) {
		return j.bad("want " + w)
	}
	j.pos += len(w)
	return nil
}

// members goes through an object's members; the value is for each to read.
func (j *jsonReader) members(each func(name []byte) error) error {
	j.pos++ // the brace
	j.space()
	if j.peek() == '}' {
		j.pos++
		return nil
	}
	for {
		j.space()
		if j.peek() != '"' {
			return j.bad("want a name")
		}
		name, err := j.text()
		if err != nil {
			return err
		}
		j.space()
		if j.peek() != ':' {
			return j.bad("want a colon")
		}
		j.pos++
		j.space()
		if err := each(name); err != nil {
			return err
		}
		j.space()
		switch j.peek() {
		case ',':
			j.pos++
		case '}':
			j.pos++
			return nil
		default:
			return j.bad("want a comma or the end of an object")
		}
	}
}

// elements goes through a list's elements.
func (j *jsonReader) elements(each func() error) error {
	j.pos++ // the bracket
	j.space()
	if j.peek() == ']' {
		j.pos++
		return nil
	}
	for {
		j.space()
		if err := each(); err != nil {
			return err
		}
		j.space()
		switch j.peek() {
		case ',':
			j.pos++
		case ']':
			j.pos++
			return nil
		default:
			return j.bad("want a comma or the end of a list")
		}
	}
}

// fields gives a cleared set of a struct's fields.
func (j *jsonReader) fields(n int) []bool {
	if j.open == len(j.seen) {
		j.seen = append(j.seen, nil)
	}
	set := j.seen[j.open]
	if cap(set) < n {
		set = make([]bool, n)
		j.seen[j.open] = set
	}
	j.open++
	set = set[:n]
	clear(set)
	return set
}

func (j *jsonReader) object(n *node, rep, depth int) error {
	seen := j.fields(len(n.children))
	next := 0
	err := j.members(func(name []byte) error {
		i := n.child(name, next)
		if i < 0 {
			return j.skip(depth + 1)
		}
		c := n.children[i]
		if seen[i] {
			return inField(c.Field, errors.New("it is there twice"))
		}
		seen[i], next = true, i+1
		if err := j.value(c, rep, n.def, depth+1); err != nil {
			return inField(c.Field, err)
		}
		return nil
	})
	j.open--
	if err != nil {
		return err
	}
	for i, there := range seen {
		if c := n.children[i]; !there {
			if c.Must {
				return inField(c.Field, errors.New("it is required and missing"))
			}
			j.d.nulls(c, rep, n.def)
		}
	}
	return nil
}

func (j *jsonReader) array(n *node, rep, depth int) error {
	at, el := rep, n.children[0]
	empty := true
	err := j.elements(func() error {
		empty = false
		err := j.value(el, at, n.def+1, depth+1)
		at = n.rep
		return err
	})
	if err == nil && empty {
		j.d.nulls(n, rep, n.def)
	}
	return err
}

func (j *jsonReader) dictionary(n *node, rep, depth int) error {
	at := rep
	keys := map[string]struct{}{}
	err := j.members(func(name []byte) error {
		if _, twice := keys[string(name)]; twice {
			return fmt.Errorf("key %.40q is there twice", name)
		}
		keys[string(name)] = struct{}{}
		j.d.bytes(n.children[0], at, name)
		err := j.value(n.children[1], at, n.def+1, depth+1)
		at = n.rep
		return err
	})
	if err == nil && len(keys) == 0 {
		j.d.nulls(n, rep, n.def)
	}
	return err
}

// skip passes over a value.
func (j *jsonReader) skip(depth int) error {
	if depth > maxNested {
		return fmt.Errorf("nested deeper than %d", maxNested)
	}
	switch c := j.peek(); c {
	case '{':
		return j.members(func([]byte) error { return j.skip(depth + 1) })
	case '[':
		return j.elements(func() error { return j.skip(depth + 1) })
	case '"':
		_, err := j.text()
		return err
	case 't':
		return j.word("true")
	case 'f':
		return j.word("false")
	case 'n':
		return j.word("null")
	default:
		if c == '-' || c >= '0' && c <= '9' {
			_, _, err := j.digits()
			return err
		}
		return j.bad("want a value")
	}
}

// text reads a string: a part of the body where it has no escape, else of the
// rows' own memory.
func (j *jsonReader) text() ([]byte, error) {
	j.pos++ // the quote
	from := j.pos
	for j.pos < len(j.data) {
		switch c := j.data[j.pos]; {
		case c == '"':
			j.pos++
			return j.data[from : j.pos-1], nil
		case c == '\\':
			return j.escaped(from)
		case c < ' ':
			return nil, j.bad("a control character in a string")
		}
		j.pos++
	}
	return nil, j.bad("a string without its end")
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (j *jsonReader) escaped(from int) ([]byte, error) {
	out := j.d.scratch
	start := len(out)
	out = append(out, j.data[from:j.pos]...)
	defer func() { j.d.scratch = out }()
	for j.pos < len(j.data) {
		c := j.data[j.pos]
		j.pos++
		switch {
		case c == '"':
			return out[start:len(out):len(out)], nil
		case c < ' ':
			return nil, j.bad("a control character in a string")
		case c != '\\':
			out = append(out, c)
			continue
		}
		e := j.peek()
		j.pos++
		if plain, ok := escapes[e]; ok {
			out = append(out, plain)
			continue
		}
		if e != 'u' {
			return nil, j.bad("no such escape")
		}
		r, ok := j.hex4()
		if !ok {
			return nil, j.bad("no four hexadecimal digits behind \\u")
		}
		out = utf8.AppendRune(out, j.surrogates(r))
	}
	return nil, j.bad("a string without its end")
}

func (j *jsonReader) hex4() (rune, bool) {
	if j.pos+4 > len(j.data) {
		return 0, false
	}
	var r rune
	for _, c := range j.data[j.pos : j.pos+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	j.pos += 4
	return r, true
}

// surrogates joins the two halves of a character; half of one becomes U+FFFD,
// as in Go's own decoder.
func (j *jsonReader) surrogates(r rune) rune {
	if r < 0xD800 || r > 0xDFFF {
		return r
	}
	at := j.pos
	if r < 0xDC00 && bytes.HasPrefix(j.data[j.pos:], []byte(`\u`)) {
		j.pos += 2
		if low, ok := j.hex4(); ok && low >= 0xDC00 && low <= 0xDFFF {
			return (r-0xD800)<<10 | (low - 0xDC00) + 0x10000
		}
		j.pos = at
	}
	return utf8.RuneError
}
