package worker

import (
	"encoding/json"
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"
)

func TestAppendValue(t *testing.T) {
	dec := func(v int64, scale uint8) duckdb.Decimal {
		return duckdb.Decimal{Width: 18, Scale: scale, Value: big.NewInt(v)}
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 1500, time.UTC)
	for _, tc := range []struct {
		typ  string
		v    any
		want string
	}{
		{"DECIMAL(18,2)", dec(1250, 2), "12.50"},
		{"", dec(-5, 2), "-0.05"},
		{"", dec(0, 3), "0.000"},
		{"", dec(7, 0), "7"},
		{"DOUBLE", math.Inf(-1), `"-Infinity"`},
		{"DOUBLE", 1e-7, "1e-07"},
		{"DOUBLE", 100000.0, "100000"},
		{"DOUBLE", math.MaxFloat64, "1.7976931348623157e+308"},
		{"FLOAT", float32(0.1), "0.1"},
		{"UBIGINT", uint64(math.MaxUint64), "18446744073709551615"},
		{"VARCHAR", "a\tb\u2028\"\\", "\"a\\tb\\u2028\\\"\\\\\""},
		{"VARCHAR", "<&>", `"<&>"`},
		{"JSON", "{\"a\":\n1}", `{"a":1}`},
		{"JSON", "broken\n", `"broken\n"`},
		{"JSON", "1.0", "1.0"},
		{"TIMESTAMPTZ", at, `"2026-03-01T12:00:00.0000015Z"`},
		{"TIMESTAMP", at, `"2026-03-01T12:00:00.0000015"`},
		{"DATE", at, `"2026-03-01"`},
		{"BLOB", []byte{0, 255}, `"AP8="`},
		{"X[]", []any{nil, "a", []any{}}, `[null,"a",[]]`},
		{"STRUCT(...)", map[string]any{"b": true, "a": int8(1)}, `{"a":1,"b":true}`},
	} {
		got := string(appendValue(nil, tc.typ, tc.v))
		if got != tc.want {
			t.Errorf("%s %v: %s, want %s", tc.typ, tc.v, got, tc.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s %v: %s is not JSON", tc.typ, tc.v, got)
		}
	}
}
