package typed

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

const (
	dayMicros = 24 * 60 * 60 * 1_000_000
	// Times that every engine knows: the years 1 to 9999.
	minMicros = -62_135_596_800_000_000
	maxMicros = 253_402_300_799_999_999
	minDays   = minMicros / dayMicros
	maxDays   = maxMicros / dayMicros
)

// decimal is digits and how many of them are behind the point.
type decimal struct {
	digits *big.Int
	scale  int
}

func bigInt(v int64) *big.Int { return big.NewInt(v) }

// parseDecimal reads a number as JSON has it.
func parseDecimal(s string) (decimal, error) {
	mantissa, exp := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		var err error
		if exp, err = strconv.Atoi(s[i+1:]); err != nil || exp > 100 || exp < -100 {
			return decimal{}, fmt.Errorf("%.40q is not a decimal", s)
		}
		mantissa = s[:i]
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	d := decimal{scale: len(frac) - exp}
	if len(whole)+len(frac) > 200 {
		return decimal{}, fmt.Errorf("%.40q… has too many digits", s)
	}
	var ok bool
	if d.digits, ok = new(big.Int).SetString(whole+frac, 10); !ok || strings.ContainsAny(frac, "+-_") || strings.Contains(whole, "_") {
		return decimal{}, fmt.Errorf("%.40q is not a decimal", s)
	}
	return d, nil
}

// decimalOf appends a decimal at the column's scale. A digit that would be lost
// doesn't fit.
func (r *Rows) decimalOf(n *node, rep int, d decimal) error {
	t := n.Type
	digits := new(big.Int).Set(d.digits)
	if up := t.Scale - d.scale; up > 400 || up < -400 {
		return errors.New("a number with too large an exponent")
	} else if up >= 0 {
		digits.Mul(digits, pow10(up))
	} else {
		rest := new(big.Int)
		if digits.QuoRem(digits, pow10(-up), rest); rest.Sign() != 0 {
			return fmt.Errorf("more than the %d digits behind the point that %s has", t.Scale, t)
		}
	}
	if digits.CmpAbs(pow10(t.Precision)) >= 0 {
		return fmt.Errorf("more digits than %s has", t)
	}
	if t.Precision <= 18 {
		r.num(n, rep, digits.Int64())
		return nil
	}
	r.bytes(n, rep, twosComplement(digits, DecimalBytes(t.Precision)))
	return nil
}

func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// DecimalBytes is the length of a decimal of more than 18 digits.
func DecimalBytes(precision int) int {
	for n := 1; ; n++ {
		if max := new(big.Int).Lsh(big.NewInt(1), uint(8*n-1)); max.Cmp(pow10(precision)) > 0 {
			return n
		}
	}
}

func twosComplement(v *big.Int, n int) []byte {
	if v.Sign() < 0 {
		v = new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), uint(8*n)))
	}
	return v.FillBytes(make([]byte, n))
}

// fromTwosComplement is the reverse.
func fromTwosComplement(b []byte) *big.Int {
	v := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return v
}

func (r *Rows) date(n *node, rep int, days int64) error {
	if days < minDays || days > maxDays {
		return errors.New("a date outside of the years 1 to 9999")
	}
	r.num(n, rep, days)
	return nil
}

func (r *Rows) micros(n *node, rep int, micros int64) error {
	if micros < minMicros || micros > maxMicros {
		return errors.New("a time outside of the years 1 to 9999")
	}
	r.num(n, rep, micros)
	return nil
}

// scaled appends a time in a unit of so many microseconds.
func (r *Rows) scaled(n *node, rep int, v, unit int64) error {
	if v > maxMicros/unit || v < minMicros/unit-1 {
		return errors.New("a time outside of the years 1 to 9999")
	}
	return r.micros(n, rep, v*unit)
}

// fromText appends a value that the body has as a string.
func (r *Rows) fromText(n *node, rep int, s []byte) error {
	switch n.Type.Kind {
	case String:
		r.bytes(n, rep, s)
		return nil
	case Date:
		t, err := time.Parse(time.DateOnly, string(s))
		if err != nil {
			return fmt.Errorf("%.40q is not a date such as 2026-01-31", s)
		}
		return r.date(n, rep, floorDiv(t.Unix(), 86400))
	case TimestampTZ:
		t, err := time.Parse(time.RFC3339Nano, string(s))
		if err != nil {
			return fmt.Errorf("%.40q is not a time such as 2026-01-31T10:00:00Z", s)
		}
		return r.micros(n, rep, t.UnixMicro())
	case Timestamp:
		t, err := time.Parse("2006-01-02T15:04:05.999999999", string(s))
		if err != nil {
			return fmt.Errorf("%.40q is not a time without a zone such as 2026-01-31T10:00:00", s)
		}
		return r.micros(n, rep, t.UnixMicro())
	case UUID:
		id, ok := parseUUID(s)
		if !ok {
			return fmt.Errorf("%.40q is not a UUID", s)
		}
		r.bytes(n, rep, id)
		return nil
	case Binary:
		b, err := base64.StdEncoding.DecodeString(string(s))
		if err != nil {
			return fmt.Errorf("%.40q is not base64", s)
		}
		r.bytes(n, rep, b)
		return nil
	case Decimal:
		d, err := parseDecimal(string(s))
		if err != nil {
			return err
		}
		return r.decimalOf(n, rep, d)
	}
	return fmt.Errorf("a string, want %s", n.Type)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// parseUUID reads the form with hyphens.
func parseUUID(s []byte) ([]byte, bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return nil, false
	}
	out := make([]byte, 0, 16)
	for _, part := range [][2]int{{0, 8}, {9, 13}, {14, 18}, {19, 23}, {24, 36}} {
		var err error
		if out, err = hex.AppendDecode(out, s[part[0]:part[1]]); err != nil {
			return nil, false
		}
	}
	return out, true
}
