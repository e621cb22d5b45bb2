package app

import (
	"testing"

	"varve/broker"
	"varve/internal/admin"
)

// TestDeadLettersOverTheAPI browses a group's dead letters and gives some back.
func TestDeadLettersOverTheAPI(t *testing.T) {
	n, api, _ := run(t, settings(t))
	send(t, api, "orders", 0, 3)
	if err := n.broker.PutGroup(broker.DefaultGroup("G")); err != nil {
		t.Fatal(err)
	}
	orders, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: "orders", Offset: 0, Max: 10})
	if err != nil || len(orders.Messages) != 3 {
		t.Fatalf("orders: %+v, %v", orders, err)
	}
	for _, m := range orders.Messages {
		err := n.broker.SendBack(t.Context(), &broker.SendBackRequest{Group: "G", PhysicalOffset: m.PhysicalOffset, DelayLevel: -1, MaxReconsumeTimes: -1})
		if err != nil {
			t.Fatal(err)
		}
	}
	dead, err := api.DeadLetters(t.Context())
	if err != nil || len(dead) != 1 || dead[0].Group != "G" || dead[0].Waiting != 3 {
		t.Fatalf("dead letters %+v, %v", dead, err)
	}
	page, err := api.ReadMessages(t.Context(), admin.Stretch{Topic: dead[0].Topic, Offset: 0, Max: 10})
	if err != nil || len(page.Messages) != 3 {
		t.Fatalf("browsing: %+v, %v", page, err)
	}
	if sent, err := api.ResendDeadLetters(t.Context(), "G", admin.Resend{IDs: []string{page.Messages[1].MsgID}}); err != nil || sent.Sent != 1 {
		t.Errorf("one by its id: %+v, %v", sent, err)
	}
	if sent, err := api.ResendDeadLetters(t.Context(), "G", admin.Resend{All: true}); err != nil || sent.Sent != 3 || sent.More {
		t.Errorf("all: %+v, %v", sent, err)
	}
	if dead, err = api.DeadLetters(t.Context()); err != nil || dead[0].Waiting != 0 || dead[0].Messages != 3 {
		t.Errorf("afterwards %+v, %v", dead, err)
	}
	for _, bad := range []admin.Resend{{}, {All: true, IDs: []string{"x"}}, {IDs: []string{"absent"}}} {
		if _, err := api.ResendDeadLetters(t.Context(), "G", bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
