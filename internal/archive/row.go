package archive

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"varve/internal/mq"
	"varve/internal/proof"
)

// row is one record in parts, all of them aliasing the record or scratch
// memory that lives until the next flush.
type row struct {
	queueOffset int64
	storeMicros int64
	bornMicros  int64
	physical    int64
	prepared    int64
	reconsume   int32
	sysFlag     int32
	flag        int32
	bodyCRC     uint32
	body        []byte
	encoding    []byte // nil where the client did not compress
	msgID       []byte
	tag         []byte // nil where there is none
	bornHost    []byte
	storeHost   []byte
	erased      []byte      // leaf of the message before it was erased; nil where it wasn't
	leaf        *proof.Hash // nil where it is hashed with the batch
	form        []byte      // nil where the typed columns say everything
	firstPair   int
	pairs       int
	firstKey    int
	keys        int
}

// pair is one property.
type pair struct{ key, value []byte }

// hostCache formats addresses; brokers and producers are few. It looks into
// near first, where an address has one place.
type hostCache struct {
	near [nearHosts]hostText
	all  map[string]hostText
}

type hostText struct {
	raw  string
	text []byte
}

const (
	nearHosts = 32
	// maxHosts bounds a hostCache; it is emptied when full.
	maxHosts = 4096
)

// format gives "ip:port" and whether that says all: the stored port has four
// bytes, of which a real one uses two, and an IPv4 address may be stored in
// the form of IPv6.
func (c *hostCache) format(raw []byte) (text []byte, exact bool) {
	exact = raw[len(raw)-4] == 0 && raw[len(raw)-3] == 0 &&
		(len(raw) == 8 || !netip.AddrFrom16([16]byte(raw)).Is4In6())
	near := &c.near[(raw[len(raw)-1]^raw[len(raw)-5])%nearHosts]
	if string(raw) == near.raw {
		return near.text, exact
	}
	t, ok := c.all[string(raw)]
	if !ok {
		if c.all == nil || len(c.all) >= maxHosts {
			c.all = map[string]hostText{}
		}
		port := uint16(binary.BigEndian.Uint32(raw[len(raw)-4:]))
		addr, _ := netip.AddrFromSlice(raw[:len(raw)-4])
		t = hostText{string(raw), []byte(netip.AddrPortFrom(addr, port).String())}
		c.all[t.raw] = t
	}
	*near = t
	return t.text, exact
}

// props is what splitting stored properties found.
type props struct {
	pairs   []pair // the caller's slice, extended
	exact   bool   // joining the pairs gives the stored bytes, but for openEnd
	openEnd bool   // the last pair has no separator behind it
	tag     []byte
	keys    []byte
	uniqKey []byte
}

// splitProperties splits stored properties as mq.Properties does. Of pairs
// with the same key the last value is kept, at the first one's place: engines
// refuse a map with a key twice.
func splitProperties(stored []byte, pairs []pair) props {
	p := props{pairs: pairs, exact: true}
	first := len(pairs)
	var seen map[string]int // only for many pairs
	for rest := stored; len(rest) > 0; {
		one := rest
		if i := bytes.IndexByte(rest, 2); i >= 0 {
			one, rest = rest[:i], rest[i+1:]
		} else {
			rest, p.openEnd = nil, true
		}
		i := bytes.IndexByte(one, 1)
		if i < 0 {
			p.exact = false
			continue
		}
		kv := pair{one[:i], one[i+1:]}
		p.note(kv)
		if at := find(p.pairs[first:], kv.key, seen); at >= 0 {
			p.pairs[first+at].value = kv.value
			p.exact = false
			continue
		}
		if n := len(p.pairs) - first; n == linearPairs {
			seen = make(map[string]int, 4*linearPairs)
			for j, q := range p.pairs[first:] {
				seen[string(q.key)] = j
			}
		}
		if seen != nil {
			seen[string(kv.key)] = len(p.pairs) - first
		}
		p.pairs = append(p.pairs, kv)
	}
	return p
}

// linearPairs is how many pairs are searched one by one.
const linearPairs = 24

func find(pairs []pair, key []byte, seen map[string]int) int {
	if seen != nil {
		if i, ok := seen[string(key)]; ok {
			return i
		}
		return -1
	}
	for i := range pairs {
		if bytes.Equal(pairs[i].key, key) {
			return i
		}
	}
	return -1
}

// note keeps the properties that have columns of their own: as for
// mq.Property, the first pair of a name counts.
func (p *props) note(kv pair) {
	switch string(kv.key) {
	case mq.PropTags:
		if p.tag == nil {
			p.tag = kv.value
		}
	case mq.PropKeys:
		if p.keys == nil {
			p.keys = kv.value
		}
	case mq.PropUniqKey:
		if p.uniqKey == nil {
			p.uniqKey = kv.value
		}
	}
}

// text gives b as valid UTF-8, which string columns must be.
func text(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return []byte(strings.ToValidUTF8(string(b), "\uFFFD"))
}

// parse takes a whole record apart. It appends pairs and keys to the batch.
func (w *FileWriter) parse(r mq.Record) (row, error) {
	if string(r.Topic()) != w.queue.Topic || r.QueueID() != w.queue.ID {
		return row{}, fmt.Errorf("%w: it is of %s/%d", mq.ErrBadRecord, r.Topic(), r.QueueID())
	}
	born, store := r.BornTimeMillis(), r.StoreTimeMillis()
	one := row{
		queueOffset: r.QueueOffset(),
		storeMicros: micros(store),
		bornMicros:  micros(born),
		physical:    r.PhysicalOffset(),
		prepared:    r.PreparedTransactionOffset(),
		reconsume:   r.ReconsumeTimes(),
		sysFlag:     r.SysFlag(),
		flag:        r.Flag(),
		bodyCRC:     r.BodyCRC(),
		body:        r.Body(),
		firstPair:   len(w.pairs),
		firstKey:    len(w.keys),
	}
	exact := millis(one.storeMicros) == store && millis(one.bornMicros) == born
	var ok bool
	one.bornHost, ok = w.hosts.format(r.BornHost())
	exact = exact && ok
	one.storeHost, ok = w.hosts.format(r.StoreHost())
	exact = exact && ok

	stored := r.Properties()
	p := splitProperties(stored, w.pairs)
	w.pairs = p.pairs
	exact = exact && p.exact
	if !utf8.Valid(stored) {
		exact = false
		for i := one.firstPair; i < len(w.pairs); i++ {
			w.pairs[i] = pair{text(w.pairs[i].key), text(w.pairs[i].value)}
		}
	}
	one.pairs = len(w.pairs) - one.firstPair
	w.named(&one, p, r)
	switch {
	case !exact:
		head, _, tail := r.Parts()
		one.form = append(append(append(make([]byte, 0, 1+len(head)+len(tail)), formWhole), head...), tail...)
	case p.openEnd:
		one.form = openEnd
	}
	if one.sysFlag&mq.SysCompressed != 0 {
		w.inflate(&one)
	}
	return one, nil
}

var openEnd = []byte{formOpenEnd}

// named fills the columns that repeat a property.
func (w *FileWriter) named(one *row, p props, r mq.Record) {
	if p.tag != nil {
		one.tag = text(p.tag)
	}
	for key := range bytes.FieldsSeq(p.keys) {
		w.keys = append(w.keys, text(key))
	}
	one.keys = len(w.keys) - one.firstKey
	if p.uniqKey != nil {
		one.msgID = text(p.uniqKey)
		return
	}
	host := r.StoreHost()
	addr, _ := netip.AddrFromSlice(host[:len(host)-4])
	port := uint16(binary.BigEndian.Uint32(host[len(host)-4:]))
	one.msgID = []byte(mq.OffsetMsgID(netip.AddrPortFrom(addr, port), one.physical))
}

// inflate replaces a body that the client compressed. Where it can't, the body
// and the flags stay as they are, and a reader does what it does with them.
func (w *FileWriter) inflate(one *row) {
	var name []byte
	switch (one.sysFlag & mq.SysCompressionMask) >> 8 {
	case 0, 3:
		name = []byte(encodingZlib)
	case 1:
		name = []byte(encodingLZ4)
	case 2:
		name = []byte(encodingZstd)
	default:
		return
	}
	one.encoding = name
	body, err := w.inflater.inflate(string(name), one.body)
	if err != nil {
		return
	}
	one.body = body
	one.bodyCRC = mq.BodyCRC(body)
	one.sysFlag &^= mq.SysCompressed | mq.SysCompressionMask
}
