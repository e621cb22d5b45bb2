package grpc_test

import (
	"testing"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/broker"
)

// What administrators ask of a client goes over its stream, and its answers find
// the questions they are for.
func TestAConsumerIsAskedOverItsStream(t *testing.T) {
	n := startNode(t, nodeOptions{})
	n.topic(t, "orders", 1, "")
	c, ctx := n.stub(t, false), as(t, "c1")
	stream, _ := introduce(t, c, ctx, consumerSettings("g", v2.ClientType_PUSH_CONSUMER))
	sendOK(t, c, as(t, "p"), message("orders", "1", "a lamp"))
	found, err := n.broker.FindConsumer("g", "c1")
	if err != nil {
		t.Fatal(err)
	}
	asked, can := found.(broker.AskedClient)
	if !can {
		t.Fatal("the client can't be asked")
	}
	answer := func(code v2.Code) {
		cmd, err := stream.Recv()
		if err != nil {
			t.Error(err)
			return
		}
		out := &v2.TelemetryCommand{Status: &v2.Status{Code: code}}
		if v := cmd.GetVerifyMessageCommand(); v != nil {
			if string(v.GetMessage().GetBody()) != "a lamp" || v.GetMessage().GetTopic().GetName() != "orders" {
				t.Errorf("asked to consume %v", v.GetMessage())
			}
			_ = stream.Send(&v2.TelemetryCommand{Command: &v2.TelemetryCommand_VerifyMessageResult{
				VerifyMessageResult: &v2.VerifyMessageResult{Nonce: "of no question"},
			}})
			out.Command = &v2.TelemetryCommand_VerifyMessageResult{VerifyMessageResult: &v2.VerifyMessageResult{Nonce: v.GetNonce()}}
		} else {
			stack := "main()"
			out.Command = &v2.TelemetryCommand_ThreadStackTrace{ThreadStackTrace: &v2.ThreadStackTrace{
				Nonce: cmd.GetPrintThreadStackTraceCommand().GetNonce(), ThreadStackTrace: &stack,
			}}
		}
		if err := stream.Send(out); err != nil {
			t.Error(err)
		}
	}
	rec := n.only(t, "orders")
	for code, want := range map[v2.Code]broker.Verdict{
		v2.Code_OK: broker.VerdictConsumed, v2.Code_FAILED_TO_CONSUME_MESSAGE: broker.VerdictLater,
		v2.Code_MESSAGE_CORRUPTED: broker.VerdictCorrupted, v2.Code_VERIFY_FIFO_MESSAGE_UNSUPPORTED: broker.VerdictNone,
	} {
		go answer(code)
		if got, err := asked.VerifyMessage(ctx, rec); err != nil || got != want {
			t.Errorf("answer %s is verdict %d, %v; want %d", code, got, err, want)
		}
	}
	go answer(v2.Code_OK)
	if stack, err := asked.StackTrace(ctx); err != nil || stack != "main()" {
		t.Errorf("stack %q, %v", stack, err)
	}
	go answer(v2.Code_UNSUPPORTED)
	if _, err := asked.StackTrace(ctx); err == nil {
		t.Error("a client that can't tell has a stack")
	}
}
