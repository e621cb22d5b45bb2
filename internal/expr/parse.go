package expr

import (
	"errors"
	"math"
	"slices"
	"strconv"
)

// Limits of an expression.
const (
	MaxLen   = 64 << 10 // bytes
	maxDepth = 200      // nested parentheses and signs
)

// Expr is a compiled expression.
type Expr struct {
	src  string
	root node
	used []string
}

// String is the expression as it was given.
func (e *Expr) String() string { return e.src }

// Properties names the properties that the expression looks at, each once, in
// their order of appearance.
func (e *Expr) Properties() []string { return slices.Clone(e.used) }

// Match evaluates the expression over stored properties. What can't be
// evaluated, such as a comparison of text with a number, doesn't match.
func (e *Expr) Match(stored []byte) bool {
	v := e.root.eval(stored)
	return v.kind == kindBool && v.truth()
}

// Parse compiles an expression. Its error is a *SyntaxError.
func Parse(src string) (*Expr, error) {
	if len(src) > MaxLen {
		return nil, &SyntaxError{Expr: src[:nearLen], Msg: "longer than " + strconv.Itoa(MaxLen) + " bytes"}
	}
	p := &parser{lexer: lexer{src: src}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	root, err := p.or()
	if err == nil && p.tok.kind != tokEnd {
		err = p.unexpected("the end or an operator")
	}
	if err == nil {
		root, err = p.boolean(root, 0)
	}
	if err != nil {
		return nil, err
	}
	return &Expr{src: src, root: root, used: p.used}, nil
}

// parser is a recursive descent over RocketMQ's grammar:
// or > and > equality > comparison > unary > primary.
type parser struct {
	lexer
	tok   token // the next, not yet taken
	depth int
	used  []string
}

func (p *parser) advance() error {
	t, err := p.next()
	p.tok = t
	return err
}

func (p *parser) unexpected(want string) error {
	return p.fail(p.tok.pos, "found %s, want %s", p.tok.describe(), want)
}

// take consumes the token if it is this one.
func (p *parser) take(kind tokenKind, text string) (bool, error) {
	if !p.tok.is(kind, text) {
		return false, nil
	}
	return true, p.advance()
}

func (p *parser) expect(kind tokenKind, text string) error {
	ok, err := p.take(kind, text)
	if err == nil && !ok {
		err = p.unexpected(text)
	}
	return err
}

// boolean makes an operand of AND, OR, NOT or the whole expression of n.
func (p *parser) boolean(n node, pos int) (node, error) {
	if n.boolean() {
		return n, nil
	}
	if prop, ok := n.(property); ok {
		return truth{prop}, nil
	}
	return nil, p.fail(pos, "this is a value, not a condition")
}

func (p *parser) or() (node, error)  { return p.logic("OR", p.and) }
func (p *parser) and() (node, error) { return p.logic("AND", p.equality) }

func (p *parser) logic(word string, operand func() (node, error)) (node, error) {
	pos := p.tok.pos
	left, err := operand()
	for err == nil && p.tok.is(tokKeyword, word) {
		if left, err = p.boolean(left, pos); err != nil {
			break
		}
		if err = p.advance(); err != nil {
			break
		}
		var right node
		pos = p.tok.pos
		if right, err = operand(); err != nil {
			break
		}
		if right, err = p.boolean(right, pos); err != nil {
			break
		}
		left = logic{and: word == "AND", left: left, right: right}
	}
	return left, err
}

func (p *parser) equality() (node, error) {
	pos := p.tok.pos
	left, err := p.comparison()
	for err == nil {
		switch {
		case p.tok.is(tokSymbol, "="), p.tok.is(tokSymbol, "<>"):
			left, err = p.equal(left, pos)
		case p.tok.is(tokKeyword, "IS"):
			left, err = p.isNull(left)
		default:
			return left, nil
		}
	}
	return nil, err
}

func (p *parser) equal(left node, pos int) (node, error) {
	not := p.tok.text == "<>"
	if err := p.advance(); err != nil {
		return nil, err
	}
	rightPos := p.tok.pos
	right, err := p.comparison()
	if err != nil {
		return nil, err
	}
	for _, o := range []struct {
		n   node
		pos int
	}{{left, pos}, {right, rightPos}} {
		if c, ok := o.n.(constant); ok && c.kind == kindNull {
			return nil, p.fail(o.pos, "NULL can't be compared; use IS NULL or IS NOT NULL")
		}
	}
	l, lconst := left.(constant)
	r, rconst := right.(constant)
	if lconst && rconst && l.kind == kindBool && r.kind != kindBool {
		return nil, p.fail(pos, "a truth value can't be compared with another kind of constant")
	}
	return negated(not, equal{left, right}), nil
}

func (p *parser) isNull(left node) (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	not, err := p.take(tokKeyword, "NOT")
	if err != nil {
		return nil, err
	}
	if err := p.expect(tokKeyword, "NULL"); err != nil {
		return nil, err
	}
	return negated(not, equal{left, constant{value{kind: kindNull}}}), nil
}

func (p *parser) comparison() (node, error) {
	pos := p.tok.pos
	left, err := p.unary()
	for err == nil {
		if p.tok.kind == tokSymbol {
			op, ok := order(p.tok.text)
			if !ok {
				return left, nil
			}
			left, err = p.ordered(left, pos, op)
			continue
		}
		var not bool
		if not, err = p.take(tokKeyword, "NOT"); err != nil {
			break
		}
		word := p.tok
		if word.kind == tokKeyword {
			switch word.text {
			case "CONTAINS", "STARTSWITH", "ENDSWITH":
				left, err = p.search(left, not)
				continue
			case "BETWEEN":
				left, err = p.between(left, pos, not)
				continue
			case "IN":
				left, err = p.in(left, pos, not)
				continue
			}
		}
		if not {
			return nil, p.unexpected("BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH after NOT")
		}
		return left, nil
	}
	return nil, err
}

func order(symbol string) (orderOp, bool) {
	i := slices.Index([]string{"<", "<=", ">", ">="}, symbol)
	return orderOp(i), i >= 0
}

// orderable refuses what has no order: strings, truth values, conditions.
func (p *parser) orderable(n node, pos int) error {
	if c, ok := n.(constant); ok && !c.number() || n.boolean() {
		return p.fail(pos, "only numbers and properties can be compared by size")
	}
	return nil
}

func (p *parser) ordered(left node, pos int, op orderOp) (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	right, err := p.sized()
	if err != nil {
		return nil, err
	}
	if err := p.orderable(left, pos); err != nil {
		return nil, err
	}
	return compare{op, left, right}, nil
}

// sized reads one operand of a comparison by size.
func (p *parser) sized() (node, error) {
	pos := p.tok.pos
	n, err := p.unary()
	if err != nil {
		return nil, err
	}
	return n, p.orderable(n, pos)
}

func (p *parser) between(left node, pos int, not bool) (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.orderable(left, pos); err != nil {
		return nil, err
	}
	lowPos := p.tok.pos
	low, err := p.sized()
	if err != nil {
		return nil, err
	}
	if err := p.expect(tokKeyword, "AND"); err != nil {
		return nil, err
	}
	high, err := p.sized()
	if err != nil {
		return nil, err
	}
	l, lconst := low.(constant)
	h, hconst := high.(constant)
	if c, ok := compareValues(l.value, h.value); lconst && hconst && ok && c > 0 {
		return nil, p.fail(lowPos, "BETWEEN needs the smaller value first")
	}
	if not {
		return logic{and: false, left: compare{opLess, left, low}, right: compare{opMore, left, high}}, nil
	}
	return logic{and: true, left: compare{opMoreEqual, left, low}, right: compare{opLessEqual, left, high}}, nil
}

func (p *parser) search(left node, not bool) (node, error) {
	how := p.tok.text
	if err := p.advance(); err != nil {
		return nil, err
	}
	text, err := p.str()
	if err != nil {
		return nil, err
	}
	return search{how: how, not: not, of: left, text: []byte(text)}, nil
}

func (p *parser) in(left node, pos int, not bool) (node, error) {
	prop, ok := left.(property)
	if !ok {
		return nil, p.fail(pos, "IN needs a property on its left side")
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.expect(tokSymbol, "("); err != nil {
		return nil, err
	}
	set := map[string]struct{}{}
	for {
		s, err := p.str()
		if err != nil {
			return nil, err
		}
		set[s] = struct{}{}
		more, err := p.take(tokSymbol, ",")
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	if err := p.expect(tokSymbol, ")"); err != nil {
		return nil, err
	}
	return member{of: prop, not: not, set: set}, nil
}

func (p *parser) str() (string, error) {
	if p.tok.kind != tokString {
		return "", p.unexpected("a string in single quotes")
	}
	s := p.tok.text
	return s, p.advance()
}

func (p *parser) unary() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail(p.tok.pos, "nested deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	t := p.tok
	switch {
	case t.is(tokSymbol, "+"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		return p.unary()
	case t.is(tokSymbol, "-"):
		return p.minus()
	case t.is(tokKeyword, "NOT"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		pos := p.tok.pos
		n, err := p.unary()
		if err != nil {
			return nil, err
		}
		if n, err = p.boolean(n, pos); err != nil {
			return nil, err
		}
		return inverse{n}, nil
	}
	return p.primary()
}

func (p *parser) minus() (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.unary()
	if err != nil {
		return nil, err
	}
	if c, ok := n.(constant); ok && c.number() {
		return constant{c.negate()}, nil
	}
	return negative{n}, nil
}

func (p *parser) primary() (node, error) {
	t := p.tok
	switch t.kind {
	case tokName:
		if !slices.Contains(p.used, t.text) {
			p.used = append(p.used, t.text)
		}
		return property(t.text), p.advance()
	case tokString:
		return constant{value{kind: kindString, str: []byte(t.text)}}, p.advance()
	case tokInteger, tokFloat:
		v, err := p.numeral(t)
		if err != nil {
			return nil, err
		}
		return constant{v}, p.advance()
	case tokKeyword:
		switch t.text {
		case "TRUE", "FALSE":
			return constant{boolValue(t.text == "TRUE")}, p.advance()
		case "NULL":
			return constant{value{kind: kindNull}}, p.advance()
		}
	case tokSymbol:
		if t.text == "(" {
			if err := p.advance(); err != nil {
				return nil, err
			}
			n, err := p.or()
			if err != nil {
				return nil, err
			}
			return n, p.expect(tokSymbol, ")")
		}
	}
	return nil, p.unexpected("a property, a literal or (")
}

func (p *parser) numeral(t token) (value, error) {
	if t.kind == tokFloat {
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) || math.IsInf(f, 0) {
			return value{}, p.fail(t.pos, "number out of range")
		}
		return value{kind: kindDouble, f: f}, nil
	}
	i, err := strconv.ParseInt(t.text, 10, 64)
	if err != nil {
		return value{}, p.fail(t.pos, "integer out of range (64 bits)")
	}
	return intValue(i), nil
}
