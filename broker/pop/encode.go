package pop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// encoding is the version of a saved window.
const encoding = 1

// Bits of a saved entry.
const (
	bitOrdered   = 1 << 0
	bitSuspended = 1 << 1
)

// id is a window's key in the meta table; no name can hold '@'.
func (k Key) id() string { return k.Group + "@" + k.Topic + "@" + strconv.Itoa(int(k.Queue)) }

func keyOf(id string) (Key, error) {
	parts := strings.Split(id, "@")
	if len(parts) != 3 {
		return Key{}, fmt.Errorf("pop: window %q in the meta store: want group@topic@queue", id)
	}
	queue, err := strconv.ParseInt(parts[2], 10, 32)
	if err != nil {
		return Key{}, fmt.Errorf("pop: window %q in the meta store: queue: %w", id, err)
	}
	return Key{parts[0], parts[1], int32(queue)}, nil
}

// encode gives next, the attempt, and what isn't done: offset, time and
// deadline, each as the difference from the one before, tries and bits.
func (w *Window) encode() []byte {
	b := make([]byte, 0, 16+len(w.attempt)+8*w.live)
	b = append(b, encoding)
	b = binary.AppendUvarint(b, uint64(w.next))
	b = appendText(b, w.attempt)
	b = binary.AppendUvarint(b, uint64(w.live))
	var last entry
	for i := w.head; i < len(w.entries); i++ {
		e := w.entries[i]
		if e.state == done {
			continue
		}
		if e.state == moved { // not synced: it counts as given out until then
			e.due = e.pop
		}
		b = binary.AppendUvarint(b, uint64(e.off-last.off))
		b = binary.AppendVarint(b, e.pop-last.pop)
		b = binary.AppendVarint(b, e.due-last.due)
		b = binary.AppendUvarint(b, uint64(e.kept))
		b = append(b, bit(e.ordered, bitOrdered)|bit(e.suspended, bitSuspended))
		last = e
	}
	return b
}

func bit(on bool, b byte) byte {
	if on {
		return b
	}
	return 0
}

// decode fills a new window with what encode gave.
func (w *Window) decode(raw []byte) error {
	if len(raw) == 0 || raw[0] != encoding {
		return errors.New("unknown version")
	}
	d := decoder{b: raw[1:]}
	next := int64(d.uint())
	attempt := d.text()
	n := d.uint()
	var last entry
	var entries []entry
	for ; n > 0 && d.err == nil; n-- {
		e := entry{
			off: last.off + int64(d.uint()), pop: last.pop + d.int(), due: last.due + d.int(),
			kept: int32(d.uint()),
		}
		bits := d.byte()
		e.ordered, e.suspended = bits&bitOrdered != 0, bits&bitSuspended != 0
		if d.err == nil && (e.off >= next || len(entries) > 0 && e.off <= last.off) {
			d.err = fmt.Errorf("offset %d is out of order", e.off)
		}
		entries = append(entries, e)
		last = e
	}
	if d.err == nil && len(d.b) > 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.b))
	}
	if d.err != nil {
		return d.err
	}
	w.Start(next)
	w.attempt, w.entries, w.live = attempt, entries, len(entries)
	w.count(len(entries))
	for i := range entries {
		if entries[i].ordered {
			w.ordered++
		}
		w.expect(entries[i].due)
	}
	return nil
}

// doneItem is one message that a done record names.
type doneItem struct{ off, pop int64 }

// doneBody names messages of one window.
func doneBody(k Key, list []entry) []byte {
	b := make([]byte, 0, 32+len(k.Group)+len(k.Topic)+12*len(list))
	b = append(b, encoding)
	b = appendText(b, k.Group)
	b = appendText(b, k.Topic)
	b = binary.AppendUvarint(b, uint64(k.Queue))
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		b = binary.AppendUvarint(b, uint64(list[i].off))
		b = binary.AppendUvarint(b, uint64(list[i].pop))
	}
	return b
}

func parseDone(body []byte) (k Key, list []doneItem, err error) {
	if len(body) == 0 || body[0] != encoding {
		return k, nil, errors.New("unknown version")
	}
	d := decoder{b: body[1:]}
	k.Group, k.Topic, k.Queue = d.text(), d.text(), int32(d.uint())
	for n := d.uint(); n > 0 && d.err == nil; n-- {
		list = append(list, doneItem{int64(d.uint()), int64(d.uint())})
	}
	return k, list, d.err
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads and remembers the first thing that is wrong.
type decoder struct {
	b   []byte
	err error
}

var errShort = errors.New("cut off")

func (d *decoder) take(n int) {
	if n <= 0 || d.err != nil {
		d.b, d.err = nil, errors.Join(d.err, errShort)
		return
	}
	d.b = d.b[n:]
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.take(n)
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	d.take(n)
	return v
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.take(0)
		return 0
	}
	v := d.b[0]
	d.take(1)
	return v
}

func (d *decoder) text() string {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.take(0)
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}
