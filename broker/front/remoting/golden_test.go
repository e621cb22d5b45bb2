package remoting

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"varve/broker/front/fronttest"
	wire "varve/internal/remoting"
)

var update = flag.Bool("update", false, "write testdata/frames/*.golden anew")

// Recorded is one frame that a client sent. `make golden` records them.
type Recorded struct {
	Code    int    `json:"code"`
	Answers int    `json:"answers"` // the code of the broker's request; 0 in a request
	Frame   []byte `json:"frame"`
}

// TestGoldenFrames decodes what real clients sent and holds the result to a
// text; what is encoded again decodes to the same.
func TestGoldenFrames(t *testing.T) {
	for client, recorded := range fronttest.Recorded[Recorded](t, os.DirFS("testdata/frames")) {
		t.Run(client, func(t *testing.T) {
			var out strings.Builder
			for _, r := range recorded {
				var cmd, again wire.Command
				if err := wire.DecodeFrame(bytes.Clone(r.Frame[4:]), &cmd); err != nil {
					t.Fatalf("request %d, answer to %d: %v", r.Code, r.Answers, err)
				}
				if err := wire.DecodeFrame(wire.AppendFrame(nil, &cmd)[4:], &again); err != nil {
					t.Fatalf("request %d, answer to %d, encoded again: %v", r.Code, r.Answers, err)
				}
				first, second := describe(&r, &cmd), describe(&r, &again)
				if first != second {
					t.Errorf("encoded again:\n%s\nwas\n%s", second, first)
				}
				fmt.Fprintln(&out, first)
			}
			golden := "testdata/frames/" + client + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("decoded frames differ from %s (run with -update to see how):\n%s", golden, out.String())
			}
		})
	}
}

// describe is a frame as text: its header, its fields by name, its body.
func describe(r *Recorded, c *wire.Command) string {
	var w strings.Builder
	what := fmt.Sprintf("%d %s", c.Code, nameOfRequest(c.Code))
	if c.IsReply() {
		what = fmt.Sprintf("answer %d to %d, remark %q", c.Code, r.Answers, c.Remark)
	}
	if c.IsOneWay() {
		what += ", one-way"
	}
	fmt.Fprintf(&w, "%s (%s, version %d, serializer %d)\n", what, c.Language, c.Version, c.Serializer)
	var fields []string
	for k, v := range c.Ext.All() {
		fields = append(fields, fmt.Sprintf("\t%s = %q\n", k, v))
	}
	slices.Sort(fields)
	fmt.Fprint(&w, strings.Join(fields, ""))
	describeBody(&w, c.Body)
	return w.String()
}

func describeBody(w io.Writer, body []byte) {
	const most = 64 // bytes that are shown of what is no JSON
	switch {
	case len(body) == 0:
	case json.Valid(body):
		fmt.Fprintf(w, "\tbody %s\n", body)
	case len(body) > most:
		fmt.Fprintf(w, "\tbody of %d bytes: %q…\n", len(body), body[:most])
	default:
		fmt.Fprintf(w, "\tbody of %d bytes: %q\n", len(body), body)
	}
}

// nameOfRequest is a request's name in the front's table.
func nameOfRequest(code int) string {
	if short := wire.Short(code); short >= 0 && short < tableSize && requests[short].name != "" {
		return requests[short].name
	}
	if slices.Contains(nameServers, code) {
		return "(the name server's)"
	}
	return "(not supported)"
}

// nameServers are the requests that clients send to a name server.
var nameServers = []int{
	wire.PutKVConfig, wire.GetKVConfig, wire.DeleteKVConfig, wire.GetRouteInfoByTopic, wire.GetBrokerClusterInfo,
	wire.WipeWritePermOfBroker, wire.GetAllTopicListFromNS, wire.DeleteTopicInNS, wire.RegisterTopicInNS, wire.GetKVListByNamespace,
	wire.GetTopicsByCluster, wire.GetSystemTopicListFromNS, wire.UpdateNamesrvConfig, wire.GetNamesrvConfig, wire.AddWritePermOfBroker,
}
