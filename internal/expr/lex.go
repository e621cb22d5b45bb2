package expr

import (
	"fmt"
	"strings"
)

// SyntaxError tells what is wrong with an expression and where.
type SyntaxError struct {
	Expr string // the whole expression
	Pos  int    // byte position in it
	Msg  string
}

func (e *SyntaxError) Error() string {
	near := e.Expr[min(e.Pos, len(e.Expr)):]
	if near == "" {
		return fmt.Sprintf("filter expression, at its end: %s", e.Msg)
	}
	if len(near) > nearLen {
		near = near[:nearLen] + "…"
	}
	return fmt.Sprintf("filter expression, position %d near %q: %s", e.Pos+1, near, e.Msg)
}

// nearLen is how much of the expression an error quotes.
const nearLen = 24

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokName
	tokString // text is the decoded value
	tokInteger
	tokFloat
	tokSymbol  // text is one of ( ) , = <> < <= > >= + -
	tokKeyword // text is upper case
)

type token struct {
	kind tokenKind
	pos  int
	text string
}

func (t token) is(kind tokenKind, text string) bool { return t.kind == kind && t.text == text }

// describe names the token in an error.
func (t token) describe() string {
	switch t.kind {
	case tokEnd:
		return "the end"
	case tokString:
		return "a string"
	default:
		return t.text
	}
}

func keyword(s string) bool {
	switch s {
	case "NOT", "AND", "OR", "BETWEEN", "IN", "TRUE", "FALSE", "NULL", "IS", "CONTAINS", "STARTSWITH", "ENDSWITH":
		return true
	}
	return false
}

// lexer cuts an expression into tokens.
type lexer struct {
	src string
	pos int
}

func (l *lexer) fail(pos int, format string, args ...any) error {
	return &SyntaxError{Expr: l.src, Pos: pos, Msg: fmt.Sprintf(format, args...)}
}

// next gives the next token; at the end it gives tokEnd again and again.
func (l *lexer) next() (token, error) {
	if err := l.skipSpace(); err != nil {
		return token{}, err
	}
	if l.pos == len(l.src) {
		return token{kind: tokEnd, pos: l.pos}, nil
	}
	switch c := l.src[l.pos]; {
	case nameStart(c):
		return l.name(), nil
	case c == '\'':
		return l.quoted()
	case digit(c), c == '.':
		return l.number()
	default:
		return l.symbol()
	}
}

func (l *lexer) skipSpace() error {
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		switch {
		case strings.IndexByte(" \t\n\r\f", rest[0]) >= 0:
			l.pos++
		case strings.HasPrefix(rest, "--"):
			i := strings.IndexAny(rest, "\r\n")
			if i < 0 {
				i = len(rest)
			}
			l.pos += i
		case strings.HasPrefix(rest, "/*"):
			i := strings.Index(rest[2:], "*/")
			if i < 0 {
				return l.fail(l.pos, "this comment has no end")
			}
			l.pos += i + 4
		default:
			return nil
		}
	}
	return nil
}

func (l *lexer) name() token {
	start := l.pos
	for l.pos < len(l.src) && (nameStart(l.src[l.pos]) || digit(l.src[l.pos])) {
		l.pos++
	}
	text := l.src[start:l.pos]
	if up := strings.ToUpper(text); keyword(up) {
		return token{kind: tokKeyword, pos: start, text: up}
	}
	return token{kind: tokName, pos: start, text: text}
}

func (l *lexer) quoted() (token, error) {
	start := l.pos
	var b strings.Builder
	for i := start + 1; i < len(l.src); i++ {
		if l.src[i] != '\'' {
			b.WriteByte(l.src[i])
			continue
		}
		if i+1 < len(l.src) && l.src[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		l.pos = i + 1
		return token{kind: tokString, pos: start, text: b.String()}, nil
	}
	return token{}, l.fail(start, "this string has no closing quote")
}

// number reads 0, 12, 12L, 1., 1.5, .5, 1e3, 1.5E-3.
func (l *lexer) number() (token, error) {
	start := l.pos
	whole := l.digits()
	kind := tokInteger
	if l.pos < len(l.src) && l.src[l.pos] == '.' {
		kind = tokFloat
		l.pos++
		if l.digits() == 0 && whole == 0 {
			return token{}, l.fail(start, "a point without digits is no number")
		}
	}
	if l.exponent() {
		kind = tokFloat
	}
	text := l.src[start:l.pos]
	if kind == tokInteger {
		if len(text) > 1 && text[0] == '0' {
			return token{}, l.fail(start, "an integer may not start with 0")
		}
		if l.pos < len(l.src) && (l.src[l.pos] == 'l' || l.src[l.pos] == 'L') {
			l.pos++
		}
	}
	if l.pos < len(l.src) && (nameStart(l.src[l.pos]) || l.src[l.pos] == '.') {
		return token{}, l.fail(start, "malformed number")
	}
	return token{kind: kind, pos: start, text: text}, nil
}

func (l *lexer) digits() int {
	start := l.pos
	for l.pos < len(l.src) && digit(l.src[l.pos]) {
		l.pos++
	}
	return l.pos - start
}

// exponent takes E, an optional sign and digits; it takes nothing where there
// are no digits.
func (l *lexer) exponent() bool {
	start := l.pos
	if l.pos == len(l.src) || l.src[l.pos]|0x20 != 'e' {
		return false
	}
	l.pos++
	if l.pos < len(l.src) && (l.src[l.pos] == '+' || l.src[l.pos] == '-') {
		l.pos++
	}
	if l.digits() == 0 {
		l.pos = start
		return false
	}
	return true
}

func (l *lexer) symbol() (token, error) {
	rest := l.src[l.pos:]
	for _, s := range []string{"<>", "<=", ">=", "=", "<", ">", "(", ")", ",", "+", "-"} {
		if strings.HasPrefix(rest, s) {
			t := token{kind: tokSymbol, pos: l.pos, text: s}
			l.pos += len(s)
			return t, nil
		}
	}
	hint := ""
	for wrong, right := range map[string]string{"!=": "<>", "&&": "AND", "||": "OR", "!": "NOT", "\"": "single quotes for strings"} {
		if strings.HasPrefix(rest, wrong) && !(wrong == "!" && strings.HasPrefix(rest, "!=")) {
			hint = "; use " + right
		}
	}
	r := []rune(rest[:min(len(rest), 4)])[0]
	return token{}, l.fail(l.pos, "unexpected character %q%s", r, hint)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func nameStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$'
}
