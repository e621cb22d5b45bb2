package remoting

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

// MaxFields bounds the ext fields of one command.
const MaxFields = 256

// Fields are a command's ext fields in order. Values of a received command
// stay text in the read buffer until they are asked for.
type Fields struct{ pairs []pair }

// pair is one field. An integer that we send is formatted only when it is
// encoded.
type pair struct {
	name  string
	value string
	num   int64
	isNum bool
}

func (p *pair) text() string {
	if p.isNum {
		return strconv.FormatInt(p.num, 10)
	}
	return p.value
}

// Len is the number of fields.
func (f *Fields) Len() int { return len(f.pairs) }

// At gives the i-th field of a received command. Both strings alias the read
// buffer: clone what outlives the handler.
func (f *Fields) At(i int) (name, value string) {
	p := &f.pairs[i]
	return p.name, p.text()
}

// Lookup finds a field. The value aliases the read buffer: clone it if it
// outlives the handler.
func (f *Fields) Lookup(name string) (value string, ok bool) {
	for i := range f.pairs {
		if f.pairs[i].name == name {
			return f.pairs[i].text(), true
		}
	}
	return "", false
}

// Get gives a copy of a field's value, "" where it is absent.
func (f *Fields) Get(name string) string {
	v, _ := f.Lookup(name)
	return strings.Clone(v)
}

// All iterates over copies of the fields.
func (f *Fields) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range f.pairs {
			name, value := f.At(i)
			if !yield(strings.Clone(name), strings.Clone(value)) {
				return
			}
		}
	}
}

// Raw iterates over the fields as they are: the strings of a received command
// alias the read buffer.
func (f *Fields) Raw() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range f.pairs {
			if !yield(f.At(i)) {
				return
			}
		}
	}
}

// Set adds a field or replaces its value.
func (f *Fields) Set(name, value string) { f.put(pair{name: name, value: value}) }

// SetInt adds an integer field or replaces its value.
func (f *Fields) SetInt(name string, v int64) { f.put(pair{name: name, num: v, isNum: true}) }

// SetBool adds a boolean field or replaces its value.
func (f *Fields) SetBool(name string, v bool) { f.Set(name, strconv.FormatBool(v)) }

func (f *Fields) put(p pair) {
	for i := range f.pairs {
		// The first byte tells most names of one length apart.
		if q := f.pairs[i].name; len(q) == len(p.name) && len(q) > 0 && q[0] == p.name[0] && q == p.name {
			f.pairs[i] = p
			return
		}
	}
	f.pairs = append(f.pairs, p)
}

func (f *Fields) reset() { f.pairs = f.pairs[:0] }

// receive adds a decoded field; the last one of a name wins, as in a map.
func (f *Fields) receive(name, value string) error {
	if len(f.pairs) >= MaxFields {
		return fmt.Errorf("more than %d ext fields", MaxFields)
	}
	f.put(pair{name: name, value: value})
	return nil
}

func (f *Fields) clone() Fields {
	out := Fields{pairs: slices.Clone(f.pairs)}
	for i := range out.pairs {
		p := &out.pairs[i]
		p.name, p.value = strings.Clone(p.name), strings.Clone(p.value)
	}
	return out
}

// Parser reads fields by type and remembers the first thing that is wrong, so
// that a handler checks once. An empty value counts as absent, as it does for
// RocketMQ's own decoder.
type Parser struct {
	f   *Fields
	err error
}

// Parse starts reading the fields.
func (f *Fields) Parse() *Parser { return &Parser{f: f} }

// Err is the first missing or malformed field.
func (p *Parser) Err() error { return p.err }

func (p *Parser) lookup(name string, required bool) (string, bool) {
	v, _ := p.f.Lookup(name)
	if v == "" {
		if required && p.err == nil {
			p.err = fmt.Errorf("the custom field <%s> is null", name)
		}
		return "", false
	}
	return v, true
}

func (p *Parser) bad(name, value, want string) {
	if p.err == nil {
		p.err = fmt.Errorf("the custom field <%s> is %q, not %s", name, strings.Clone(value), want)
	}
}

// Str is a required field.
func (p *Parser) Str(name string) string {
	v, _ := p.lookup(name, true)
	return strings.Clone(v)
}

// OptStr is an optional field.
func (p *Parser) OptStr(name string) string {
	v, _ := p.lookup(name, false)
	return strings.Clone(v)
}

// Int is a required integer field.
func (p *Parser) Int(name string) int64 {
	v, ok := p.lookup(name, true)
	if !ok {
		return 0
	}
	return p.int(name, v, 64)
}

// OptInt is an optional integer field.
func (p *Parser) OptInt(name string, absent int64) int64 {
	v, ok := p.lookup(name, false)
	if !ok || v == "null" {
		return absent
	}
	return p.int(name, v, 64)
}

// Int32 is a required 32-bit integer field.
func (p *Parser) Int32(name string) int32 {
	v, ok := p.lookup(name, true)
	if !ok {
		return 0
	}
	return int32(p.int(name, v, 32))
}

// OptInt32 is an optional 32-bit integer field.
func (p *Parser) OptInt32(name string, absent int32) int32 {
	v, ok := p.lookup(name, false)
	if !ok || v == "null" {
		return absent
	}
	return int32(p.int(name, v, 32))
}

func (p *Parser) int(name, v string, bits int) int64 {
	n, err := strconv.ParseInt(v, 10, bits)
	if err != nil {
		p.bad(name, v, fmt.Sprintf("a %d-bit integer", bits))
		return 0
	}
	return n
}

// OptBool is an optional boolean field: true only for "true", as in Java.
func (p *Parser) OptBool(name string) bool {
	v, _ := p.lookup(name, false)
	return strings.EqualFold(v, "true")
}

// Bytes gives the i-th value of a received command without a copy: it aliases
// the read buffer and must not be changed.
func (f *Fields) Bytes(i int) []byte {
	v := f.pairs[i].text()
	return unsafe.Slice(unsafe.StringData(v), len(v))
}

// Reset removes all fields and keeps their memory.
func (f *Fields) Reset() { f.reset() }

// Grow makes room for n more fields.
func (f *Fields) Grow(n int) { f.pairs = slices.Grow(f.pairs, n) }
