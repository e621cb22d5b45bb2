package units

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Duration is a time span written as "90d", "1d12h", "2w" or in Go's form.
// Zero is no bound.
type Duration time.Duration

// ParseDuration reads a span: weeks and days (whole numbers), then Go's form.
func ParseDuration(s string) (Duration, error) {
	rest, total := strings.TrimSpace(s), time.Duration(0)
	if rest == "" {
		return 0, fmt.Errorf("time span is empty")
	}
	for _, u := range []struct {
		unit string
		is   time.Duration
	}{{"w", 7 * day}, {"d", day}} {
		head, tail, ok := strings.Cut(rest, u.unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(head, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("time span %q: want a form like 90d, 1d12h or 36h; units are w, d, h, m, s, ms, us and ns", s)
		}
		if n > uint64((1<<63-1-total)/u.is) {
			return 0, fmt.Errorf("time span %q is too long", s)
		}
		total, rest = total+time.Duration(n)*u.is, tail
	}
	if rest == "" {
		return Duration(total), nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, fmt.Errorf("time span %q: want a form like 90d, 1d12h or 36h; units are w, d, h, m, s, ms, us and ns", s)
	}
	if d < 0 || total+d < total {
		return 0, fmt.Errorf("time span %q is out of range", s)
	}
	return Duration(total + d), nil
}

// String gives the shortest form that ParseDuration reads back.
func (d Duration) String() string {
	t := time.Duration(d)
	if t == 0 || t < day {
		return t.String()
	}
	s := strconv.FormatInt(int64(t/day), 10) + "d"
	if r := t % day; r != 0 {
		s += r.String()
	}
	return s
}

// MarshalText gives String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}

// Bytes is an amount written as "500GiB", "1.5TB" or a plain number. Zero is
// no bound.
type Bytes int64

var byteUnits = []struct {
	name string
	is   int64
}{
	{"PiB", 1 << 50},
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"PB", 1e15},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"kB", 1e3},
	{"KB", 1e3},
	{"B", 1},
}

// ParseBytes reads an amount.
func ParseBytes(s string) (Bytes, error) {
	num, unit := strings.TrimSpace(s), int64(1)
	for _, u := range byteUnits {
		if head, ok := strings.CutSuffix(num, u.name); ok {
			num, unit = strings.TrimSpace(head), u.is
			break
		}
	}
	if n, err := strconv.ParseInt(num, 10, 64); err == nil {
		if n < 0 || n > (1<<63-1)/unit {
			return 0, fmt.Errorf("amount %q is out of range", s)
		}
		return Bytes(n * unit), nil
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil {
		return 0, fmt.Errorf("amount %q: want a form like 500GiB, 1.5TB or 1048576", s)
	}
	if !(f >= 0 && f*float64(unit) < 1<<62) {
		return 0, fmt.Errorf("amount %q is out of range", s)
	}
	return Bytes(f * float64(unit)), nil
}

// String gives the largest binary unit that divides the amount.
func (b Bytes) String() string {
	for _, u := range byteUnits[:5] {
		if b != 0 && int64(b)%u.is == 0 {
			return strconv.FormatInt(int64(b)/u.is, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText gives String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads what ParseBytes reads.
func (b *Bytes) UnmarshalText(t []byte) (err error) {
	*b, err = ParseBytes(string(t))
	return err
}

// UnmarshalJSON takes a string or a whole number of bytes.
func (b *Bytes) UnmarshalJSON(raw []byte) error {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		s = string(raw)
	}
	return b.UnmarshalText([]byte(s))
}
