package corpus

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

const (
	poolSize   = 8192
	serialLen  = 12
	serialMark = "############"

	serialBefore = `{"order_id":"O-2026-`
)

var (
	names    = strings.Fields("Anna Bruno Chiara Dmitri Elena Farid Greta Hugo Ines Jonas Kaori Liang Maria Nadia Omar Paula Quinn Rosa Sven Tariq")
	families = strings.Fields("Fischer Rossi Dubois Novak Svensson Garcia Kim Tanaka Silva Moreau Weber Bianchi Kowalski Haddad Jensen Ivanova")
	cities   = strings.Fields("Lyon Porto Gdansk Leeds Bergen Torino Malmo Graz Ghent Sevilla Brno Turku")
	goods    = strings.Fields("kettle lamp chair notebook bicycle helmet blanket teapot charger backpack mirror ladder speaker curtain toaster")
	states   = strings.Fields("created paid packed shipped delivered returned")
	words    = strings.Fields("please leave the parcel with a neighbour if nobody opens ring twice gift wrap fragile handle carefully second floor code changed call before delivery invoice to company address weekend preferred")
)

// Tags are the tags that messages carry, in turn.
var Tags = []string{"created", "paid", "shipped", "returned"}

// Corpus is a pool of bodies with places for a serial number.
type Corpus struct {
	bodies [][]byte
	at     []int // place of the serial in each body
}

// New makes a corpus of bodies of the given size.
func New(size int, seed uint64) *Corpus {
	r := rand.New(rand.NewPCG(seed, 42))
	c := &Corpus{}
	for range poolSize {
		b := order(r, size)
		c.bodies = append(c.bodies, []byte(b))
		c.at = append(c.at, strings.Index(b, serialMark))
	}
	return c
}

// Append appends the n-th body to dst.
func (c *Corpus) Append(dst []byte, n int64) []byte {
	i := int(n % poolSize)
	start := len(dst)
	dst = append(dst, c.bodies[i]...)
	PutSerial(dst[start+c.at[i]:start+c.at[i]+serialLen], n)
	return dst
}

// PutSerial writes n in decimal over the whole of dst.
func PutSerial(dst []byte, n int64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
}

// Serial finds the number of a body of any corpus within a stored record.
func Serial(record []byte) (int64, error) {
	i := bytes.Index(record, []byte(serialBefore))
	if i < 0 || i+len(serialBefore)+serialLen > len(record) {
		return 0, errors.New("no order in the record")
	}
	digits := record[i+len(serialBefore):][:serialLen]
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("serial of an order: %w", err)
	}
	return n, nil
}

// Holds says whether a record holds the n-th body, byte for byte.
func (c *Corpus) Holds(record []byte, n int64) bool {
	return bytes.Contains(record, c.Append(nil, n))
}

func order(r *rand.Rand, size int) string {
	var b strings.Builder
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	first, last := pick(names), pick(families)
	b.WriteString(serialBefore + serialMark)
	fmt.Fprintf(&b, `","customer":{"id":"C-%06d","name":"%s %s","email":"%s.%s%d@example.org","address":{"street":"%s street %d","city":"%s","zip":"%05d"}},`,
		r.IntN(1_000_000), first, last, strings.ToLower(first), strings.ToLower(last), r.IntN(100), pick(families), 1+r.IntN(200), pick(cities), r.IntN(100_000))
	b.WriteString(`"items":[`)
	for i := range 1 + r.IntN(4) {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"sku":"SKU-%05d","name":"%s","quantity":%d,"price":%d.%02d}`, r.IntN(100_000), pick(goods), 1+r.IntN(5), r.IntN(300), r.IntN(100))
	}
	fmt.Fprintf(&b, `],"total":%d.%02d,"currency":"EUR","status":"%s","created_at":"2026-11-%02dT%02d:%02d:%02d.%03dZ","payment":{"method":"card","reference":"%016x%016x"},"note":"`,
		r.IntN(2000), r.IntN(100), pick(states), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000), r.Uint64(), r.Uint64())
	for b.Len() < size-2 {
		b.WriteString(pick(words))
		b.WriteByte(' ')
	}
	return b.String()[:size-2] + `"}`
}
