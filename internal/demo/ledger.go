package demo

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// tags of the demo's messages; a message's number picks its tag.
var tags = []string{"created", "paid", "packed", "shipped", "returned"}

var (
	items   = []string{"lamp", "chair", "desk", "shelf", "rug", "clock", "vase", "mirror"}
	regions = []string{"north", "east", "south", "west"}
)

// order is the body of a message.
type order struct {
	Number   int     `json:"number"`
	Customer string  `json:"customer"`
	Region   string  `json:"region"`
	Item     string  `json:"item"`
	Amount   float64 `json:"amount"`
	Status   string  `json:"status"`
	Note     string  `json:"note"`
}

func tagOf(n int) string { return tags[(n*7+n/11)%len(tags)] }

// centsOf is the order's amount in cents, spread without randomness so that
// every run sends the same.
func centsOf(n int) int64 { return int64(n)*2654435761%99_900 + 100 }

// newMessage makes message n of a topic.
func newMessage(topic string, n int) *primitive.Message {
	body, err := json.Marshal(order{
		Number: n, Customer: fmt.Sprintf("customer-%05d", n*31%20011), Region: regions[n%len(regions)], Item: items[n*5%len(items)],
		Amount: float64(centsOf(n)) / 100, Status: tagOf(n),
		Note: "leave at the door, ring twice, " + strconv.FormatUint(uint64(n)*0x9E3779B97F4A7C15, 36),
	})
	if err != nil {
		panic(err) // the type has nothing that JSON can't hold
	}
	m := primitive.NewMessage(topic, body)
	m.WithTag(tagOf(n))
	m.WithKeys([]string{keyOf(n)})
	m.WithProperty("region", regions[n%len(regions)])
	m.WithProperty("number", strconv.Itoa(n))
	return m
}

func keyOf(n int) string { return "order-" + strconv.Itoa(n) }

// digest covers what a reader must get back unchanged.
func digest(number, tag, key, region string, body []byte) uint64 {
	h := fnv.New64a()
	for _, part := range []string{number, tag, key, region} {
		_, _ = h.Write([]byte(part))
		_, _ = h.Write([]byte{0})
	}
	_, _ = h.Write(body)
	return h.Sum64()
}

// ledger knows every message that was sent. It may be used concurrently.
type ledger struct {
	mu   sync.Mutex
	sent map[int]uint64 // number → digest
}

func newLedger() *ledger { return &ledger{sent: map[int]uint64{}} }

// acked notes a message that the server took.
func (l *ledger) acked(n int, m *primitive.Message) {
	d := digest(m.GetProperty("number"), m.GetTags(), m.GetKeys(), m.GetProperty("region"), m.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[n] = d
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent)
}

// numbers gives the sent numbers that keep holds for, with their digests.
func (l *ledger) numbers(keep func(n int) bool) map[int]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[int]uint64, len(l.sent))
	for n, d := range l.sent {
		if keep(n) {
			out[n] = d
		}
	}
	return out
}

// audit holds one reader to what it should get. It may be used concurrently.
type audit struct {
	mu      sync.Mutex
	seen    map[int]int // number → times
	digests map[int]uint64
	strange int // messages that carry no number
}

func newAudit() *audit { return &audit{seen: map[int]int{}, digests: map[int]uint64{}} }

// note takes one message that was read.
func (a *audit) note(number, tag, key, region string, body []byte) {
	n, err := strconv.Atoi(number)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.strange++
		return
	}
	a.seen[n]++
	a.digests[n] = digest(number, tag, key, region, body)
}

func (a *audit) distinct() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen)
}

// verdict is what an audit found.
type verdict struct{ expected, lost, doubled, changed, strange int }

func (v verdict) String() string {
	return fmt.Sprintf("%d messages: %d lost, %d doubled, %d changed, %d unknown", v.expected, v.lost, v.doubled, v.changed, v.strange)
}

func (v verdict) err(who string) error {
	if v.lost+v.doubled+v.changed+v.strange == 0 {
		return nil
	}
	return fmt.Errorf("%s of %s", who, v)
}

// compare holds what was read to what should have been.
func (a *audit) compare(want map[int]uint64) verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := verdict{expected: len(want), strange: a.strange}
	for n, d := range want {
		switch times := a.seen[n]; {
		case times == 0:
			v.lost++
		case a.digests[n] != d:
			v.changed++
		case times > 1:
			v.doubled += times - 1
		}
	}
	for n := range a.seen {
		if _, ok := want[n]; !ok {
			v.strange++
		}
	}
	return v
}
