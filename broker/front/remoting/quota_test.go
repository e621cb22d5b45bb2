package remoting_test

import (
	"runtime"
	"testing"
	"time"

	"varve/broker"
	wire "varve/internal/remoting"
)

// A connection counts for its tenant's bound from its first send, pull or pop
// on, without a heartbeat, until it ends.
func TestConnectionsCountForTheirTenant(t *testing.T) {
	n := startNode(t, nodeOptions{})
	first, second := wire.NewClient(n.addr, wire.ClientConfig{}), n.client(t, wire.JSON)
	call(t, first, wire.Success, sendCmd(wire.SendMessageV2, "acme%orders", 0, "", "x"))
	if err := n.broker.PutQuota(broker.Quota{Tenant: "acme", Connections: 1}); err != nil {
		t.Fatal(err)
	}
	call(t, first, wire.Success, sendCmd(wire.SendMessageV2, "acme%orders", 0, "", "x"))
	call(t, second, wire.FlowControl, sendCmd(wire.SendMessageV2, "acme%orders", 0, "", "x"))
	call(t, second, wire.FlowControl, wire.NewRequest(wire.PullMessage, "consumerGroup", "acme%g", "topic", "acme%orders", "queueId", "0",
		"queueOffset", "0", "maxMsgNums", "1", "sysFlag", "4", "commitOffset", "0", "suspendTimeoutMillis", "0", "subscription", "*", "subVersion", "0"))
	call(t, second, wire.FlowControl, wire.NewRequest(wire.PopMessage, "consumerGroup", "acme%g", "topic", "acme%orders", "queueId", "0",
		"maxMsgNums", "1", "invisibleTime", "10000", "pollTime", "0", "bornTime", "0", "initMode", "0", "expType", "TAG", "exp", "*"))
	call(t, second, wire.FlowControl, wire.NewRequest(wire.PeekMessage, "consumerGroup", "acme%g", "topic", "acme%orders", "queueId", "0", "maxMsgNums", "1"))
	call(t, second, wire.Success, sendCmd(wire.SendMessageV2, "orders", 0, "", "x"))
	_ = first.Close()
	for end := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
		r, err := second.Call(t.Context(), sendCmd(wire.SendMessageV2, "acme%orders", 0, "", "x"))
		if err != nil {
			t.Fatal(err)
		}
		if r.Code == wire.Success {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the place of a connection that ended stays taken")
		}
	}
}
