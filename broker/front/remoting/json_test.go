package remoting

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

func TestQueueMapIsWrittenAsClientsReadIt(t *testing.T) {
	m := queueMap[int64]{
		{Broker: "b", Topic: "t", ID: 1}: 7,
		{Broker: "b", Topic: "t", ID: 0}: 5,
	}
	got, err := withQueueMap(nil, "offsetTable", m, "")
	want := `{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:5,{"brokerName":"b","queueId":1,"topic":"t"}:7}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}

func TestParseQueueMap(t *testing.T) {
	want := map[mq.Queue]int64{{Broker: "b", Topic: "t", ID: 1}: 7, {Broker: "b", Topic: "t"}: 5}
	for _, s := range []string{
		`{{"brokerName":"b","queueId":0,"topic":"t"}:5,{"brokerName":"b","queueId":1,"topic":"t"}:7}`,
		` { {"topic":"t","queueId":0,"brokerName":"b"} : 5 , {"brokerName":"b","queueId":1,"topic":"t"}:7 } `,
		`{"{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"t\"}":5,"{\"brokerName\":\"b\",\"queueId\":1,\"topic\":\"t\"}":7}`,
	} {
		got, err := parseQueueMap[int64]([]byte(s))
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
	}
	for _, s := range []string{``, `[]`, `{`, `{{}`, `{{"queueId":"x"}:1}`, `{{}:}`, `{{} 5}`, `{"x":1}`} {
		if got, err := parseQueueMap[int64]([]byte(s)); err == nil {
			t.Errorf("%s: got %v", s, got)
		}
	}
}

func FuzzParseQueueMap(f *testing.F) {
	f.Add([]byte(`{{"brokerName":"b","queueId":0,"topic":"t"}:5,"{}":7}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseQueueMap[int64](raw)
		if err != nil {
			return
		}
		again, err := queueMap[int64](m).append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseQueueMap[int64](again); err != nil || !maps.Equal(back, m) {
			t.Errorf("%s: %v, %v", again, back, err)
		}
	})
}

// FuzzHeartbeat decodes bodies as code 34 does: whatever comes is either
// refused or within its limits.
func FuzzHeartbeat(f *testing.F) {
	f.Add([]byte(`{"clientID":"c","producerDataSet":[{"groupName":"p"}],"consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{"topic":"t","subString":"a || b","tagsSet":["a","b"],"codeSet":[97,98],"subVersion":1700000000000,"expressionType":"TAG"}],"unitMode":false}],"heartbeatFingerprint":1,"withoutSub":true}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var body heartbeatBody
		if json.Unmarshal(raw, &body) != nil || body.check() != nil {
			return
		}
		if n := len(body.Producers) + len(body.Consumers); n > maxBeatGroups {
			t.Errorf("%d groups", n)
		}
	})
}

func TestChangeAttributes(t *testing.T) {
	attrs := map[string]string{"gone": "1", "kept": "2"}
	if err := changeAttributes(attrs, "+message.type=FIFO, -gone,+kept=3"); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(attrs, map[string]string{"message.type": "FIFO", "kept": "3"}) {
		t.Errorf("attributes %v", attrs)
	}
	for _, bad := range []string{"x=1", "+x", "-x=1", "+=1", "-"} {
		if err := changeAttributes(attrs, bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestEveryErrorHasACode holds the core's errors to the codes of the protocol.
func TestEveryErrorHasACode(t *testing.T) {
	for err, want := range map[error]int{
		broker.ErrNoTopic:           wire.TopicNotExist,
		broker.ErrNoGroup:           wire.SubscriptionGroupNotExist,
		broker.ErrForbidden:         wire.NoPermission,
		broker.ErrIllegalMessage:    wire.MessageIllegal,
		broker.ErrBadRequest:        wire.InvalidParameter,
		broker.ErrBusy:              wire.SystemBusy,
		broker.ErrDiskFull:          wire.ServiceNotAvailable,
		broker.ErrClosed:            wire.ServiceNotAvailable,
		broker.ErrNoSubscription:    wire.SubscriptionNotExist,
		broker.ErrStaleSubscription: wire.SubscriptionNotLatest,
		broker.ErrBadFilter:         wire.SubscriptionParseFailed,
		broker.ErrNoOffset:          wire.QueryNotFound,
		broker.ErrNoMember:          wire.ConsumerNotOnline,
		errors.New("any other"):     wire.SystemError,
		refused(42, "x"):            42,
	} {
		if got := codeOf(fmt.Errorf("doing this: %w", err)); got != want {
			t.Errorf("%v: code %d, want %d", err, got, want)
		}
	}
}

func TestRequestsHaveNames(t *testing.T) {
	for code, r := range requests {
		if handled := r.raw != nil || r.reply != nil; handled != (r.name != "") || r.raw != nil && r.reply != nil {
			t.Errorf("code %d: %q is not handled in exactly one way", code, r.name)
		}
		if strings.ToUpper(r.name) != r.name {
			t.Errorf("code %d: name %q", code, r.name)
		}
	}
}
