package mqtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"varve/internal/mq"
)

// Broker is the broker group that the suite asks for.
const Broker = "mqtest"

// Names and places that the suite's messages use.
const (
	baseMillis = int64(1_750_000_000_000)
	orders     = "orders"
	payments   = "payments"
	lonely     = "lonely"
)

// Messages gives the messages that the suite stores, in log order: dense
// offsets from 0 in each queue, store times that never fall and often repeat.
func Messages() []mq.Message {
	g := &generator{
		rng:  rand.New(rand.NewPCG(1, 2)),
		next: make(map[mq.Queue]int64),
		now:  baseMillis,
		phys: 64,
	}
	for i := range 1500 {
		if i%7 != 0 && i%7 != 1 {
			g.now += int64(g.rng.IntN(5))
		}
		switch {
		case i == 600:
			g.add(lonely, 3, mq.Message{Body: []byte("alone"), Properties: props(mq.PropUniqKey, "only")})
		case i%2 == 0:
			g.add(orders, 0, g.ordinary(i))
		case i%3 == 0:
			g.add(orders, 1, g.odd(i))
		default:
			g.add(payments, int32(i%4), g.ordinary(i))
		}
	}
	return g.out
}

type generator struct {
	rng  *rand.Rand
	next map[mq.Queue]int64
	now  int64
	phys int64
	out  []mq.Message
}

func (g *generator) add(topic string, id int32, m mq.Message) {
	q := mq.Queue{Broker: Broker, Topic: topic, ID: id}
	m.Topic, m.QueueID = topic, id
	m.QueueOffset = g.next[q]
	m.PhysicalOffset = g.phys
	m.StoreTimeMillis = g.now
	if m.BornTimeMillis == 0 {
		m.BornTimeMillis = g.now - 3
	}
	if !m.BornHost.IsValid() {
		m.BornHost = netip.MustParseAddrPort("192.0.2.7:40001")
	}
	if !m.StoreHost.IsValid() {
		m.StoreHost = netip.MustParseAddrPort("192.0.2.1:10911")
	}
	g.next[q]++
	g.phys += int64(mq.RecordLen(&m))
	g.out = append(g.out, m)
}

var tags = []string{"", "red", "green", "blue", "größe", "𝄞"}

func (g *generator) ordinary(i int) mq.Message {
	p := props(mq.PropUniqKey, fmt.Sprintf("UNIQ%06d", i))
	if tag := tags[i/2%len(tags)]; tag != "" {
		p = mq.AppendProperty(p, mq.PropTags, tag)
	}
	if i%10 < 4 {
		p = mq.AppendProperty(p, mq.PropKeys, fmt.Sprintf("key-%d common%d", i, i%50))
	}
	p = mq.AppendProperty(p, "weekday", fmt.Sprint(i%7))
	return mq.Message{
		Body:       []byte(fmt.Sprintf(`{"n":%d,"text":%q}`, i, strings.Repeat("ab", g.rng.IntN(200)))),
		Properties: p,
		Flag:       int32(i),
	}
}

// odd gives the shapes at the edges of what can be stored.
func (g *generator) odd(i int) mq.Message {
	switch i / 6 % 8 {
	case 0:
		return mq.Message{}
	case 1:
		return mq.Message{Body: []byte("no properties")}
	case 2:
		return mq.Message{Properties: props("empty body", "yes", mq.PropTags, "red")}
	case 3:
		return mq.Message{
			Body: []byte("six"), BornHost: netip.MustParseAddrPort("[2001:db8::7]:40001"),
			Properties: props(mq.PropKeys, "  spaced   out  "),
		}
	case 4:
		return mq.Message{
			Body: []byte("six six"), BornHost: netip.MustParseAddrPort("[2001:db8::7]:40001"),
			StoreHost: netip.MustParseAddrPort("[2001:db8::1]:10911"),
		}
	case 5:
		return mq.Message{
			ReconsumeTimes: 3, PreparedTransactionOffset: 1 << 40, SysFlag: mq.SysMultiTags, Flag: -1,
			BornTimeMillis: 1, Body: []byte{0, 1, 2, 0xff}, Properties: props("a", "1", "b", "", "a", "2"),
		}
	case 6:
		return mq.Message{
			Body:       []byte("long properties"),
			Properties: props("long", strings.Repeat("x", mq.MaxPropertiesLen-6)),
		}
	default:
		if i < 700 {
			return mq.Message{Body: bytes.Repeat([]byte("0123456789abcdef"), 64<<10/4)}
		}
		return mq.Message{Body: bytes.Repeat([]byte{byte(i)}, 5000)}
	}
}

func props(pairs ...string) []byte {
	var p []byte
	for i := 0; i < len(pairs); i += 2 {
		p = mq.AppendProperty(p, pairs[i], pairs[i+1])
	}
	return p
}
