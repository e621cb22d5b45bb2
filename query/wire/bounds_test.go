package wire

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

var intervals = rapid.Custom(func(t *rapid.T) Interval {
	if rapid.Bool().Draw(t, "all") {
		return All
	}
	return Interval{rapid.Int64Range(-3, 6).Draw(t, "low"), rapid.Int64Range(-3, 6).Draw(t, "high")}
})

var someBounds = rapid.Custom(func(t *rapid.T) Bounds {
	b := Bounds{StoreMillis: intervals.Draw(t, "time"), Offset: intervals.Draw(t, "offset"), QueueID: intervals.Draw(t, "queue")}
	if rapid.Bool().Draw(t, "queues") {
		b.QueueIDs = rapid.SliceOfN(rapid.Int64Range(0, 3), 0, 2).Draw(t, "ids")
	}
	if rapid.Bool().Draw(t, "brokers") {
		b.Brokers = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 1).Draw(t, "names")
	}
	return b
})

// needs is the meaning of bounds: whether they let one row pass.
func needs(b Bounds, broker string, id int32, offset, millis int64) bool {
	return b.NeedsQueue(broker, id) && b.Offset.Overlaps(offset, offset) && b.StoreMillis.Overlaps(millis, millis)
}

// TestBounds: an intersection passes what both pass, a hull at least what
// either passes, and neither a trip through JSON nor the order loses a row.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := someBounds.Draw(t, "a"), someBounds.Draw(t, "b")
		broker := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "broker")
		id := int32(rapid.IntRange(0, 3).Draw(t, "id"))
		off, ms := rapid.Int64Range(-3, 6).Draw(t, "row offset"), rapid.Int64Range(-3, 6).Draw(t, "row time")
		inA, inB := needs(a, broker, id, off, ms), needs(b, broker, id, off, ms)
		if got := needs(a.Intersect(b), broker, id, off, ms); got != (inA && inB) {
			t.Errorf("intersection: %t, want %t", got, inA && inB)
		}
		if (inA || inB) && !needs(a.Hull(b), broker, id, off, ms) {
			t.Errorf("the hull loses a row")
		}
		j, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back Bounds
		if err := json.Unmarshal(j, &back); err != nil {
			t.Fatal(err)
		}
		if inA && !needs(back, broker, id, off, ms) {
			t.Errorf("JSON loses a row")
		}
	})
}

func TestValueText(t *testing.T) {
	for in, want := range map[string]string{`null`: "NULL", `"a\"b"`: `a"b`, `1.50`: "1.50", `{"a":1}`: `{"a":1}`, ``: ""} {
		if got := Value(in).Text(); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
