package retention

import (
	"encoding/json"
	"reflect"
	"regexp"
	"testing"
	"time"

	"varve/internal/mq"
)

// TestExplanationInTheAPI: every name is lower case, and what was written is
// read again, by a client of before too.
func TestExplanationInTheAPI(t *testing.T) {
	f := File{Name: "f", Offsets: mq.Range{From: 3, To: 9}, Rows: 6, Bytes: 60, Row: 1, Sharing: 2}
	want := Explanation{
		Queue: mq.Queue{Broker: "b", Topic: "t", ID: 2}, Archive: Decision{Rule: "r", Candidates: []Candidate{{"r", "w"}}},
		Files: 2, Bytes: 120, Removals: []Removal{{File: f, Rule: "r", Cause: ByAge}},
		Kept: &Kept{File: f, Rule: "r", Cause: ByBytes, By: ByHold, Name: "h"}, Next: &f, NextAt: time.UnixMilli(7).UTC(), Error: "e",
	}
	data, err := json.Marshal([]Explanation{want})
	if err != nil {
		t.Fatal(err)
	}
	if bad := regexp.MustCompile(`"[^"]*[A-Z][^"]*":`).FindAllString(string(data), -1); bad != nil {
		t.Errorf("names %q in %s", bad, data)
	}
	var got []Explanation
	if err := json.Unmarshal(data, &got); err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	var old File
	if err := json.Unmarshal([]byte(`{"name":"f","offsets":{"From":3,"To":9},"rows":6,"bytes":60,"row":1,"sharing":2}`), &old); err != nil || old != f {
		t.Errorf("%+v, %v", old, err)
	}
}
