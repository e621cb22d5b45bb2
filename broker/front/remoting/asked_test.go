package remoting_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"sync/atomic"
	"testing"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// other is a client of another protocol.
type other struct{ verdict atomic.Int64 } // a broker.Verdict

func (*other) RemoteAddr() netip.AddrPort { return netip.AddrPort{} }

func (*other) NotifyMembersChanged(string) {}

func (o *other) VerifyMessage(_ context.Context, rec mq.Record) (broker.Verdict, error) {
	if string(rec.Body()) != "x" {
		return broker.VerdictCorrupted, nil
	}
	return broker.Verdict(o.verdict.Load()), nil
}

func (*other) StackTrace(context.Context) (string, error) { return "main()", nil }

// RocketMQ's tools ask clients of other protocols as they ask their own.
func TestToolsAskClientsOfOtherProtocols(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.client(t, wire.JSON)
	sent := call(t, c, wire.Success, sendV2("orders", "x"))
	o := &other{}
	_, err := n.broker.Heartbeat(o, &broker.Heartbeat{ClientID: "o", Consumers: []broker.ConsumerBeat{{Group: "g"}}})
	if err != nil {
		t.Fatal(err)
	}
	directly := func(want int) (result struct{ ConsumeResult string }) {
		t.Helper()
		r := call(t, c, want, wire.NewRequest(wire.ConsumeMessageDirectly, "consumerGroup", "g", "clientId", "o", "msgId", sent.Ext.Get("msgId"), "topic", "orders"))
		if want == wire.Success {
			if err := json.Unmarshal(r.Body, &result); err != nil {
				t.Fatal(err)
			}
		}
		return result
	}
	for v, want := range map[broker.Verdict]string{broker.VerdictConsumed: "CR_SUCCESS", broker.VerdictLater: "CR_LATER"} {
		o.verdict.Store(int64(v))
		if r := directly(wire.Success); r.ConsumeResult != want {
			t.Errorf("verdict %d is %q, want %q", v, r.ConsumeResult, want)
		}
	}
	o.verdict.Store(int64(broker.VerdictNone))
	directly(wire.NoPermission)
	for stack, want := range map[string]string{"true": "main()", "false": ""} {
		r := call(t, c, wire.Success, wire.NewRequest(wire.GetConsumerRunningInfo, "consumerGroup", "g", "clientId", "o", "jstackEnable", stack))
		var info struct {
			JStack     string
			Properties map[string]string
		}
		if err := json.Unmarshal(r.Body, &info); err != nil {
			t.Fatal(err)
		}
		if info.JStack != want || info.Properties["PROP_CONSUME_TYPE"] == "" {
			t.Errorf("jstackEnable %s: %+v", stack, info)
		}
	}
}
