package worker

import (
	"bytes"
	"database/sql/driver"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"
)

// textual reports whether a type's values leave DuckDB as their text: JSON, so
// that nothing of it is rounded or reordered, and what Go has no type for.
func textual(typ string) bool {
	switch typ {
	case "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
		"FLOAT", "DOUBLE", "HUGEINT", "UHUGEINT", "VARCHAR", "BLOB", "DATE",
		"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ":
		return false
	}
	return !strings.HasPrefix(typ, "DECIMAL") && !strings.HasPrefix(typ, "STRUCT") &&
		!strings.HasPrefix(typ, "MAP") && !strings.HasSuffix(typ, "]")
}

// Layouts of times in results.
const (
	dateLayout      = "2006-01-02"
	timestampLayout = "2006-01-02T15:04:05.999999999"
	instantLayout   = timestampLayout + "Z"
)

// appendValue adds one value as JSON without line ends. typ is the column's
// type, "" inside a nested value.
func appendValue(b []byte, typ string, v driver.Value) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case string:
		if typ == "JSON" {
			return appendJSON(b, v)
		}
		return appendString(b, v)
	case []byte:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v)
		return append(b, '"')
	case float32:
		return appendFloat(b, float64(v), 32)
	case float64:
		return appendFloat(b, v, 64)
	case *big.Int:
		return v.Append(b, 10)
	case duckdb.Decimal:
		return appendDecimal(b, v)
	case time.Time:
		return appendTime(b, typ, v.UTC())
	case []any:
		b = append(b, '[')
		for i, e := range v {
			b = appendComma(b, i)
			b = appendValue(b, "", e)
		}
		return append(b, ']')
	case map[string]any:
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			b = appendString(appendComma(b, i), k)
			b = appendValue(append(b, ':'), "", v[k])
		}
		return append(b, '}')
	case duckdb.OrderedMap:
		b = append(b, '{')
		vals := v.Values()
		for i, k := range v.Keys() {
			b = appendString(appendComma(b, i), fmt.Sprint(k))
			b = appendValue(append(b, ':'), "", vals[i])
		}
		return append(b, '}')
	}
	return appendOther(b, v)
}

func appendOther(b []byte, v any) []byte {
	switch v := v.(type) {
	case int8, int16, int32, int64, int, uint8, uint16, uint32, uint64, uint:
		return fmt.Append(b, v)
	default:
		return appendString(b, fmt.Sprint(v))
	}
}

// appendDecimal keeps the zeros that the type's scale asks for.
func appendDecimal(b []byte, d duckdb.Decimal) []byte {
	digits := new(big.Int).Abs(d.Value).String()
	if d.Value.Sign() < 0 {
		b = append(b, '-')
	}
	scale := int(d.Scale)
	if short := scale + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	b = append(b, digits[:len(digits)-scale]...)
	if scale > 0 {
		b = append(append(b, '.'), digits[len(digits)-scale:]...)
	}
	return b
}

func appendComma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}

func appendTime(b []byte, typ string, t time.Time) []byte {
	layout := instantLayout
	switch {
	case typ == "DATE":
		layout = dateLayout
	case strings.HasPrefix(typ, "TIMESTAMP") && typ != "TIMESTAMPTZ":
		layout = timestampLayout
	}
	b = append(b, '"')
	b = t.AppendFormat(b, layout)
	return append(b, '"')
}

func appendFloat(b []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, bits)
}

// appendJSON adds a JSON text on one line.
func appendJSON(b []byte, text string) []byte {
	if !strings.ContainsAny(text, "\r\n") && json.Valid([]byte(text)) {
		return append(b, text...)
	}
	var out bytes.Buffer
	if json.Compact(&out, []byte(text)) != nil {
		return appendString(b, text)
	}
	return append(b, out.Bytes()...)
}

// appendString quotes s. DuckDB's strings are valid UTF-8.
func appendString(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil {
		return append(b, `""`...)
	}
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}
