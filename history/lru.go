package history

import "container/list"

// lru keeps values by key within a budget of their sizes; the one used longest
// ago goes first, but never one that keep protects. It is not safe for
// concurrent use.
type lru[K comparable, V any] struct {
	budget, used int64
	order        *list.List // of *entry, newest in front
	by           map[K]*list.Element
	keep         func(K, V) bool // nil protects none
	gone         func(K, V)      // hears of evicted values; may be nil
}

type entry[K comparable, V any] struct {
	key   K
	value V
	size  int64
}

func newLRU[K comparable, V any](budget int64, gone func(K, V)) *lru[K, V] {
	return &lru[K, V]{budget: budget, order: list.New(), by: map[K]*list.Element{}, gone: gone}
}

func (l *lru[K, V]) get(k K) (v V, ok bool) {
	el := l.by[k]
	if el == nil {
		return v, false
	}
	l.order.MoveToFront(el)
	return el.Value.(*entry[K, V]).value, true
}

func (l *lru[K, V]) put(k K, v V, size int64) {
	l.remove(k)
	l.by[k] = l.order.PushFront(&entry[K, V]{k, v, size})
	l.used += size
	l.shrink()
}

// shrink evicts until the budget holds.
func (l *lru[K, V]) shrink() {
	for el := l.order.Back(); el != nil && l.used > l.budget; {
		prev := el.Prev()
		if e := el.Value.(*entry[K, V]); l.keep == nil || !l.keep(e.key, e.value) {
			l.remove(e.key)
			if l.gone != nil {
				l.gone(e.key, e.value)
			}
		}
		el = prev
	}
}

// evictWhile evicts the values that were used longest ago, up to the first that
// f is false for.
func (l *lru[K, V]) evictWhile(f func(V) bool) {
	for el := l.order.Back(); el != nil && f(el.Value.(*entry[K, V]).value); el = l.order.Back() {
		e := el.Value.(*entry[K, V])
		l.remove(e.key)
		if l.gone != nil {
			l.gone(e.key, e.value)
		}
	}
}

// remove forgets a key without telling gone.
func (l *lru[K, V]) remove(k K) {
	if el := l.by[k]; el != nil {
		l.used -= l.order.Remove(el).(*entry[K, V]).size
		delete(l.by, k)
	}
}
