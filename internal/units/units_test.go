package units

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestUnitsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64Range(0, 1<<62).Draw(t, "d"))
		if got, err := ParseDuration(d.String()); err != nil || got != d {
			t.Fatalf("%d as %q: %d, %v", d, d, got, err)
		}
		b := Bytes(rapid.Int64Range(0, 1<<62).Draw(t, "b"))
		if got, err := ParseBytes(b.String()); err != nil || got != b {
			t.Fatalf("%d as %q: %d, %v", b, b, got, err)
		}
	})
	if b, err := ParseBytes("1.5 TB"); b != 1_500_000_000_000 || err != nil {
		t.Error(b, err)
	}
	if d, err := ParseDuration("2w1d2h30m"); time.Duration(d) != 15*day+2*time.Hour+30*time.Minute || err != nil {
		t.Error(d, err)
	}
}

func TestAmountsAsPeopleWriteThem(t *testing.T) {
	for in, want := range map[string]Bytes{"1": 1, "64KiB": 64 << 10, "1.5 MiB": 3 << 19, "2 GiB": 2 << 30, "10MB": 10e6, "7B": 7} {
		if got, err := ParseBytes(in); err != nil || got != want {
			t.Errorf("%q: %d %v", in, got, err)
		}
	}
	for _, in := range []string{"", "lots", "-1", "1 XB", "9999999PiB"} {
		if got, err := ParseBytes(in); err == nil {
			t.Errorf("%q is %d", in, got)
		}
	}
	for _, in := range []string{"", "soon", "-1h", "1.5d", "9999999999w"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q is %v", in, got)
		}
	}
}
