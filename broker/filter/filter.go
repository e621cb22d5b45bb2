package filter

import (
	"fmt"
	"strings"
	"sync"

	"varve/internal/expr"
	"varve/internal/mq"
)

// Expression types.
const (
	Tag   = "TAG"
	SQL92 = "SQL92"
)

// Limits.
const (
	maxTags   = 1024
	cacheSize = 4096
)

// Compile turns an expression into a filter; nil keeps all. typ is TAG (also
// where empty) or SQL92. A tag expression is names parted by "||"; empty and
// "*" keep all.
func Compile(typ, expression string) (mq.Filter, error) {
	switch typ {
	case "", Tag:
		return compileTags(expression)
	case SQL92:
		e, err := expr.Parse(expression)
		if err != nil {
			return nil, err
		}
		return property{e}, nil
	}
	return nil, fmt.Errorf("expression type %q, want TAG or SQL92", typ)
}

func compileTags(expression string) (mq.Filter, error) {
	if s := strings.TrimSpace(expression); s == "" || s == "*" {
		return nil, nil
	}
	parts := strings.Split(expression, "||")
	if len(parts) > maxTags {
		return nil, fmt.Errorf("%d tags, want at most %d", len(parts), maxTags)
	}
	f := tags{hashes: map[int64]struct{}{}, names: map[string]struct{}{}}
	for _, p := range parts {
		if p = strings.TrimSpace(p); p != "" {
			f.hashes[mq.TagHash(p)] = struct{}{}
			f.names[p] = struct{}{}
		}
	}
	if len(f.names) == 0 {
		return nil, fmt.Errorf("tag expression %q names no tag", expression)
	}
	if len(f.names) == 1 {
		for name := range f.names {
			return oneTag{mq.TagHash(name), name}, nil
		}
	}
	return f, nil
}

// oneTag keeps the messages of one tag.
type oneTag struct {
	hash int64
	name string
}

func (f oneTag) MatchTag(hash int64) bool { return hash == f.hash }

func (f oneTag) MatchRecord(r mq.Record) bool {
	tag, ok := mq.Property(r.Properties(), mq.PropTags)
	return ok && string(tag) == f.name
}

// tags keeps the messages of several tags.
type tags struct {
	hashes map[int64]struct{}
	names  map[string]struct{}
}

func (f tags) MatchTag(hash int64) bool {
	_, ok := f.hashes[hash]
	return ok
}

func (f tags) MatchRecord(r mq.Record) bool {
	tag, ok := mq.Property(r.Properties(), mq.PropTags)
	if !ok {
		return false
	}
	_, ok = f.names[string(tag)]
	return ok
}

// property keeps the messages whose properties an expression is true of.
type property struct{ e *expr.Expr }

func (property) MatchTag(int64) bool { return true }

func (f property) MatchRecord(r mq.Record) bool { return f.e.Match(r.Properties()) }

// MatchProperties decides on a message's properties alone, as an arrival has
// them. Every filter of this package can.
func MatchProperties(f mq.Filter, hash int64, stored []byte) bool {
	if f == nil {
		return true
	}
	if !f.MatchTag(hash) {
		return false
	}
	if p, ok := f.(property); ok {
		return p.e.Match(stored)
	}
	return true
}

type cacheKey struct{ typ, expression string }

type compiled struct {
	filter mq.Filter
	err    error
}

// Cache compiles each expression once and shares it: between the members of a
// group, its held pulls, and pulls that bring their expression along. It may be
// called concurrently.
type Cache struct {
	mu sync.Mutex
	m  map[cacheKey]compiled
}

// NewCache makes an empty cache.
func NewCache() *Cache { return &Cache{m: map[cacheKey]compiled{}} }

// Compile is Compile, remembered.
func (c *Cache) Compile(typ, expression string) (mq.Filter, error) {
	if expression == "*" && (typ == "" || typ == Tag) {
		return nil, nil
	}
	k := cacheKey{typ, expression}
	c.mu.Lock()
	have, ok := c.m[k]
	c.mu.Unlock()
	if ok {
		return have.filter, have.err
	}
	f, err := Compile(typ, expression)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= cacheSize { // rare: start over rather than keep an order
		clear(c.m)
	}
	c.m[cacheKey{strings.Clone(typ), strings.Clone(expression)}] = compiled{f, err}
	return f, err
}
