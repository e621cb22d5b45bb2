package remoting_test

import (
	"fmt"
	"testing"
	"time"

	wire "varve/internal/remoting"
)

// TestRecallMessage takes a timed message back by the handle of its send.
func TestRecallMessage(t *testing.T) {
	n := startNode(t, nodeOptions{})
	c := n.client(t, wire.JSON)
	putTopic(t, n, "T", 1)
	due := time.Now().Add(time.Hour).UnixMilli()
	sent := call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "T", 0, fmt.Sprintf("UNIQ_KEY\x01ID7\x02TIMER_DELIVER_MS\x01%d\x02", due), "b"))
	handle := sent.Ext.Get("recallHandle")
	ask := func(topic, handle string) *wire.Command {
		return wire.NewRequest(wire.RecallMessage, "producerGroup", "P", "topic", topic, "recallHandle", handle)
	}
	got := call(t, c, wire.Success, ask("T", handle))
	if id := got.Ext.Get("msgId"); id != "ID7" {
		t.Errorf("the recalled message is %q", id)
	}
	call(t, c, wire.IllegalOperation, ask("T", handle))
	call(t, c, wire.IllegalOperation, ask("T", "x"))
	call(t, c, wire.TopicNotExist, ask("U", handle))
	call(t, c, wire.SystemError, wire.NewRequest(wire.RecallMessage, "topic", "T"))
	if plain := call(t, c, wire.Success, sendCmd(wire.SendMessageV2, "T", 0, "", "b")); plain.Ext.Get("recallHandle") != "" {
		t.Error("a message without delay has a recall handle")
	}
}
