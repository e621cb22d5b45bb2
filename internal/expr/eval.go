package expr

import (
	"bytes"
	"cmp"
	"math"
	"strconv"
	"unsafe"

	"varve/internal/mq"
)

type kind uint8

const (
	kindNull   kind = iota
	kindBool        // i is 0 or 1
	kindInt         // 32 bits, in i
	kindLong        // 64 bits, in i
	kindDouble      // in f
	kindString      // in str
	// kindFailed is the outcome of what can't be evaluated. It wins over
	// every operator, as an exception does.
	kindFailed
)

// value is the outcome of a node. Strings alias the stored properties or a
// literal.
type value struct {
	kind kind
	i    int64
	f    float64
	str  []byte
}

func boolValue(b bool) value {
	if b {
		return value{kind: kindBool, i: 1}
	}
	return value{kind: kindBool}
}

func intValue(i int64) value {
	if int64(int32(i)) == i {
		return value{kind: kindInt, i: i}
	}
	return value{kind: kindLong, i: i}
}

func (v value) truth() bool  { return v.i != 0 }
func (v value) number() bool { return v.kind >= kindInt && v.kind <= kindDouble }

func (v value) negate() value {
	switch v.kind {
	case kindInt:
		v.i = int64(int32(-v.i))
	case kindLong:
		v.i = -v.i
	case kindDouble:
		v.f = -v.f
	case kindFailed:
	default:
		return value{kind: kindNull}
	}
	return v
}

// node is a part of a compiled expression.
type node interface {
	eval(stored []byte) value
	// boolean reports whether the node is a condition rather than a value.
	boolean() bool
}

type (
	constant struct{ value }
	property string
	// truth is a property where a condition is wanted: properties are
	// strings, so it is NULL or false.
	truth    struct{ of property }
	negative struct{ of node }
	inverse  struct{ of node }
	logic    struct {
		and         bool
		left, right node
	}
	equal   struct{ left, right node }
	compare struct {
		op          orderOp
		left, right node
	}
	search struct {
		how  string
		not  bool
		of   node
		text []byte
	}
	member struct {
		of  property
		not bool
		set map[string]struct{}
	}
)

type orderOp int

const (
	opLess orderOp = iota
	opLessEqual
	opMore
	opMoreEqual
)

func (n constant) boolean() bool { return n.kind == kindBool || n.kind == kindNull }
func (property) boolean() bool   { return false }
func (truth) boolean() bool      { return true }
func (negative) boolean() bool   { return false }
func (inverse) boolean() bool    { return true }
func (logic) boolean() bool      { return true }
func (equal) boolean() bool      { return true }
func (compare) boolean() bool    { return true }
func (search) boolean() bool     { return true }
func (member) boolean() bool     { return true }

func negated(not bool, n node) node {
	if not {
		return inverse{n}
	}
	return n
}

func (n constant) eval([]byte) value { return n.value }

func (n property) eval(stored []byte) value {
	v, ok := mq.Property(stored, string(n))
	if !ok {
		return value{kind: kindNull}
	}
	return value{kind: kindString, str: v}
}

func (n truth) eval(stored []byte) value {
	if v := n.of.eval(stored); v.kind == kindNull {
		return v
	}
	return boolValue(false)
}

func (n negative) eval(stored []byte) value { return n.of.eval(stored).negate() }

func (n inverse) eval(stored []byte) value {
	v := n.of.eval(stored)
	if v.kind == kindBool {
		return boolValue(!v.truth())
	}
	return v
}

func (n logic) eval(stored []byte) value {
	l := n.left.eval(stored)
	if l.kind == kindFailed || l.kind == kindBool && l.truth() != n.and {
		return l
	}
	r := n.right.eval(stored)
	if r.kind == kindFailed || r.kind == kindBool && r.truth() != n.and {
		return r
	}
	if l.kind == kindNull || r.kind == kindNull {
		return value{kind: kindNull}
	}
	return boolValue(n.and)
}

func (n equal) eval(stored []byte) value {
	l := n.left.eval(stored)
	r := n.right.eval(stored)
	switch {
	case l.kind == kindFailed:
		return l
	case r.kind == kindFailed:
		return r
	case l.kind == kindNull && r.kind == kindNull:
		return boolValue(true)
	case l.kind == kindNull:
		return l
	case r.kind == kindNull:
		return boolValue(false)
	}
	c, ok := compareValues(l, r)
	if !ok {
		return value{kind: kindFailed}
	}
	return boolValue(c == 0)
}

func (n compare) eval(stored []byte) value {
	l := n.left.eval(stored)
	if l.kind == kindNull || l.kind == kindFailed {
		return l
	}
	r := n.right.eval(stored)
	if r.kind == kindNull || r.kind == kindFailed {
		return r
	}
	ok := true
	if l.kind == kindString && r.kind == kindString {
		var lok, rok bool
		l, lok = asDouble(l)
		r, rok = asDouble(r)
		ok = lok && rok
	}
	c := 0
	if ok {
		c, ok = compareValues(l, r)
	}
	if !ok {
		return value{kind: kindFailed}
	}
	switch n.op {
	case opLess:
		return boolValue(c < 0)
	case opLessEqual:
		return boolValue(c <= 0)
	case opMore:
		return boolValue(c > 0)
	default:
		return boolValue(c >= 0)
	}
}

func (n search) eval(stored []byte) value {
	v := n.of.eval(stored)
	if v.kind == kindFailed {
		return v
	}
	if v.kind != kindString || len(n.text) == 0 {
		return boolValue(false)
	}
	found := false
	switch n.how {
	case "CONTAINS":
		found = bytes.Contains(v.str, n.text)
	case "STARTSWITH":
		found = bytes.HasPrefix(v.str, n.text)
	default:
		found = bytes.HasSuffix(v.str, n.text)
	}
	return boolValue(found != n.not)
}

func (n member) eval(stored []byte) value {
	v := n.of.eval(stored)
	if v.kind != kindString {
		return v
	}
	_, in := n.set[string(v.str)]
	return boolValue(in != n.not)
}

// compareValues orders two values that are not NULL. A string is converted to
// the other's kind; ok is false where it can't be. Values of kinds that have
// nothing in common differ (-1).
func compareValues(l, r value) (c int, ok bool) {
	if l.kind == kindString && r.kind != kindString {
		if l, ok = convert(l, r.kind); !ok {
			return 0, false
		}
	} else if r.kind == kindString && l.kind != kindString {
		if l.kind == kindBool {
			return 0, false // RocketMQ fails here too
		}
		if r, ok = convert(r, l.kind); !ok {
			return 0, false
		}
	}
	switch {
	case l.kind == kindString:
		return bytes.Compare(l.str, r.str), true
	case l.kind == kindBool && r.kind == kindBool:
		return cmp.Compare(l.i, r.i), true
	case !l.number() || !r.number():
		return -1, true
	case l.kind == kindDouble || r.kind == kindDouble:
		return compareDoubles(l.double(), r.double()), true
	default:
		return cmp.Compare(l.i, r.i), true
	}
}

func (v value) double() float64 {
	if v.kind == kindDouble {
		return v.f
	}
	return float64(v.i)
}

// compareDoubles is the total order of Java's Double: -0.0 below 0.0, NaN
// equal to itself and above all others.
func compareDoubles(a, b float64) int {
	switch {
	case math.IsNaN(a) || math.IsNaN(b):
		return -cmp.Compare(a, b) // cmp puts NaN below all others
	case a == 0 && b == 0:
		return cmp.Compare(boolValue(!math.Signbit(a)).i, boolValue(!math.Signbit(b)).i)
	}
	return cmp.Compare(a, b)
}

// convert reads a string as another kind.
func convert(v value, to kind) (value, bool) {
	switch to {
	case kindBool:
		return boolValue(bytes.EqualFold(v.str, []byte("true"))), true
	case kindInt, kindLong:
		i, ok := parseInteger(v.str)
		if to == kindInt && int64(int32(i)) != i {
			ok = false
		}
		return value{kind: to, i: i}, ok
	case kindDouble:
		return asDouble(v)
	}
	return v, false
}

func parseInteger(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return parseLongInteger(b)
	}
	i, err := strconv.ParseInt(alias(b), 10, 64)
	return i, err == nil
}

// parseLongInteger is for the rare string that is longer than any integer
// needs, which may still be one with leading zeros.
func parseLongInteger(b []byte) (int64, bool) {
	sign := 0
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		sign = 1
	}
	if len(b) == sign {
		return 0, false
	}
	digits := bytes.TrimLeft(b[sign:], "0")
	if len(digits) == 0 {
		return 0, true
	}
	if len(digits) > 19 || !digit(digits[0]) {
		return 0, false
	}
	i, err := strconv.ParseInt(string(b[:sign])+string(digits), 10, 64)
	return i, err == nil
}

// asDouble reads what Java's Double.valueOf reads: decimal or hexadecimal,
// white space around it, an F or D behind it, NaN and Infinity.
func asDouble(v value) (value, bool) {
	b := bytes.TrimFunc(v.str, func(r rune) bool { return r <= ' ' })
	n := len(b)
	if n == 0 || bytes.IndexByte(b, '_') >= 0 {
		return value{}, false
	}
	hex := bytes.ContainsAny(b, "xX")
	last := b[n-1] | 0x20
	if n > 1 && (last == 'd' || last == 'f') && (!hex || bytes.ContainsAny(b, "pP")) {
		b = b[:n-1]
	}
	unsigned := bytes.TrimLeft(b, "+-")
	if len(unsigned) == 0 || len(b)-len(unsigned) > 1 {
		return value{}, false
	}
	if !digit(unsigned[0]) && unsigned[0] != '.' && string(unsigned) != "NaN" && string(unsigned) != "Infinity" {
		return value{}, false
	}
	if string(unsigned) == "NaN" {
		return value{kind: kindDouble, f: math.NaN()}, true
	}
	f, err := strconv.ParseFloat(alias(b), 64)
	if err != nil && !math.IsInf(f, 0) { // too large is Infinity, as in Java
		return value{}, false
	}
	return value{kind: kindDouble, f: f}, true
}

// alias gives b as a string without copying. The parsers of strconv keep no
// part of their argument.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
