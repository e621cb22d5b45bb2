package expr

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"varve/internal/mq"
)

// TestScripts runs testdata: "match" evaluates each line of its input over the
// properties given as arguments (name=value), "parse" only compiles.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			return
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var props []byte
			for _, a := range d.CmdArgs {
				v := ""
				if len(a.Vals) > 0 {
					v = strings.Join(a.Vals, ",")
				}
				props = mq.AppendProperty(props, a.Key, v)
			}
			var out strings.Builder
			for line := range strings.Lines(d.Input) {
				line = strings.TrimSuffix(line, "\n")
				e, err := Parse(line)
				switch {
				case err != nil:
					fmt.Fprintf(&out, "%s\n", err)
				case d.Cmd == "match":
					fmt.Fprintf(&out, "%t\n", e.Match(props))
				default:
					fmt.Fprintf(&out, "ok, uses %v\n", e.Properties())
				}
			}
			return out.String()
		})
	})
}

func TestLimits(t *testing.T) {
	for name, src := range map[string]string{
		"length":  "a = '" + strings.Repeat("x", MaxLen) + "'",
		"nesting": strings.Repeat("(", maxDepth+1) + "a = 1" + strings.Repeat(")", maxDepth+1),
		"signs":   "a = " + strings.Repeat("-", maxDepth+1) + "1",
		"range":   "a = 1" + strings.Repeat("0", 400) + ".0",
	} {
		var syntax *SyntaxError
		if _, err := Parse(src); !errors.As(err, &syntax) {
			t.Errorf("%s: got %v, want a *SyntaxError", name, err)
		} else if len(err.Error()) > 200 {
			t.Errorf("%s: the error is %d bytes long", name, len(err.Error()))
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	e, err := Parse("amount > 100 AND price <= 9.5 AND region IN ('eu', 'us') AND note IS NOT NULL AND name CONTAINS 'x' AND a <> b")
	if err != nil {
		t.Fatal(err)
	}
	var props []byte
	for _, kv := range [][2]string{{"amount", "101"}, {"price", "9.25"}, {"region", "eu"}, {"note", ""}, {"name", "axb"}, {"a", "1"}, {"b", "2"}} {
		props = mq.AppendProperty(props, kv[0], kv[1])
	}
	if n := testing.AllocsPerRun(100, func() {
		if !e.Match(props) {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations a match, want none", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"a=3 and b<>4 And c>5 AND d<=4", "(a not in ('6', '4')) or b between 2 and -10.5e3", "not a is null",
		"TAGS is not null and TAGS='''''tag'''''", "/* c */ x startswith 'y' -- z", "- + 9223372036854775807 > a", "a = 1..2", "é = 1",
	} {
		f.Add(s, "a\x013\x02b\x01NaN\x02")
	}
	f.Fuzz(func(t *testing.T, src, props string) {
		e, err := Parse(src)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || err.Error() == "" {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		got := e.Match([]byte(props))
		// Parentheses change nothing, and a negation never matches together
		// with what it negates.
		again, err := Parse("(" + src + "\n)")
		if err != nil {
			var syntax *SyntaxError
			if errors.As(err, &syntax) && strings.HasPrefix(syntax.Msg, "nested") || len(src) >= MaxLen-2 {
				return
			}
			t.Fatalf("parenthesised: %v", err)
		}
		if again.Match([]byte(props)) != got {
			t.Fatal("parentheses change the outcome")
		}
		if not, err := Parse("NOT (" + src + "\n)"); err == nil && got && not.Match([]byte(props)) {
			t.Fatal("an expression and its negation both match")
		}
	})
}

func FuzzConvert(f *testing.F) {
	for _, s := range []string{"1", "-0", "+7", " 1.5 ", "1e400", "NaN", "Infinity", "0x1p-3", "1_000", "1d", "--1", "00000000000000000000000000012"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := value{kind: kindString, str: []byte(s)}
		if i, ok := convert(v, kindLong); ok {
			d, dok := asDouble(v)
			if !dok || d.f != float64(i.i) {
				t.Fatalf("%q is the integer %d but the number %v, %t", s, i.i, d.f, dok)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	e, err := Parse("amount > 100 AND region IN ('eu', 'us')")
	if err != nil {
		b.Fatal(err)
	}
	props := mq.AppendProperty(mq.AppendProperty(mq.AppendProperty(nil, "KEYS", "order-123456"), "region", "eu"), "amount", "120")
	b.ReportAllocs()
	for b.Loop() {
		e.Match(props)
	}
}
