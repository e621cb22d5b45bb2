package topic

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/meta"
	"varve/internal/mq"
)

func TestTopicsSurviveARestart(t *testing.T) {
	fs := vfs.NewMem()
	s, err := meta.Open("meta", fs)
	if err != nil {
		t.Fatal(err)
	}
	table, err := Load(s)
	if err != nil {
		t.Fatal(err)
	}
	changes := 0
	table.OnChange(func() { changes++ })
	orders := Config{Name: "orders", ReadQueues: 4, WriteQueues: 2, Perm: 6, Attributes: map[string]string{"message.type": "FIFO"}}
	for _, want := range []bool{true, false} { // the second time nothing changes
		if changed, err := table.Put(orders); changed != want || err != nil {
			t.Errorf("put: changed %v, error %v", changed, err)
		}
	}
	orders.Attributes["message.type"] = "NORMAL" // the caller's map is the caller's
	if made, err := table.PutIfAbsent(Config{Name: "orders", Perm: 2}); err != nil || made.WriteQueues != 2 || made.Attributes["message.type"] != "FIFO" {
		t.Errorf("put if absent gives %+v, error %v", made, err)
	}
	if _, err := table.PutIfAbsent(Config{Name: "gone", Perm: 6}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if had, err := table.Delete("gone"); had != want || err != nil {
			t.Errorf("delete: had %v, error %v", had, err)
		}
	}
	if changes != 3 || table.Version() != 3 {
		t.Errorf("%d changes, version %d, want 3", changes, table.Version())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = meta.Open("meta", fs); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if table, err = Load(s); err != nil {
		t.Fatal(err)
	}
	all := table.All()
	if len(all) != 1 || table.Len() != 1 || all[0].ReadQueues != 4 || all[0].FilterType != SingleTag || all[0].Attributes["message.type"] != "FIFO" {
		t.Errorf("after the restart there are %d topics, first %+v", len(all), all[0])
	}
}

func TestBadTopics(t *testing.T) {
	for _, c := range []Config{
		{Name: ""},
		{Name: strings.Repeat("t", MaxNameLen+1)},
		{Name: "a b"},
		{Name: "a@b"},
		{Name: "ä"},
		{Name: "t", ReadQueues: -1},
		{Name: "t", WriteQueues: MaxQueues + 1},
		{Name: "t", Perm: 8},
	} {
		if c.Check() == nil {
			t.Errorf("topic %+v is accepted", c)
		}
	}
	for _, name := range []string{"orders", "%RETRY%g-1_x", "INSTANCE%orders", "a|b"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSendable(t *testing.T) {
	for name, want := range map[string]bool{
		"orders": true, mq.AutoTopic: true, mq.TraceTopic: true, "%RETRY%g": true,
		mq.ScheduleTopic: false, mq.TimerTopic: false, mq.HalfTopic: false, "rmq_sys_timer_done": false, "SELF_TEST_TOPIC": false,
	} {
		if Sendable(name) != want {
			t.Errorf("Sendable(%q) is %v", name, !want)
		}
	}
}
