package broker

import (
	"errors"
	"testing"

	"varve/internal/mq"
)

func TestTopicsTakeTheirTypeOfMessages(t *testing.T) {
	types := []struct {
		typ   string
		props []string
	}{
		{"NORMAL", nil},
		{"FIFO", []string{mq.PropShardingKey, "g"}},
		{"DELAY", []string{mq.PropDelay, "1"}},
		{"DELAY", []string{mq.PropTimerDelayMs, "5"}},
		{"DELAY", []string{mq.PropShardingKey, "g", mq.PropTimerDelaySec, "5"}},
		{"TRANSACTION", []string{mq.PropTransaction, "true", mq.PropProducerGroup, "p"}},
	}
	for _, c := range []struct {
		check       TypeCheck
		typed, held bool
	}{
		{CheckTyped, true, true},
		{CheckTyped, false, false},
		{CheckAll, true, true},
		{CheckAll, false, true},
		{CheckNone, true, false},
		{CheckNone, false, false},
	} {
		inBubble(t, func(cfg *Config, _ *Deps) { cfg.CheckTypes = c.check }, func(r *rig) {
			for _, topicType := range []string{"NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED", "UNSPECIFIED"} {
				err := r.PutTopic(Topic{Name: topicType, ReadQueues: 1, WriteQueues: 1, Perm: 6, Attributes: map[string]string{AttrMessageType: topicType}})
				if err != nil {
					t.Fatal(err)
				}
				one := topicType != "MIXED" && topicType != "UNSPECIFIED"
				for _, m := range types {
					req := SendRequest{Message: message(topicType, 0, "x", m.props...), Typed: c.typed}
					if m.typ == "TRANSACTION" {
						req.Message.SysFlag = mq.SysPrepared
					}
					_, err := r.trySend(&req)
					if want := c.held && one && m.typ != topicType; want != errors.Is(err, ErrMessageType) || !want && err != nil {
						t.Errorf("check %s, typed %v: %s %v to topic of %s: %v", c.check, c.typed, m.typ, m.props, topicType, err)
					}
				}
			}
		})
	}
}

func TestBatchesAndRetriesHaveTypesToo(t *testing.T) {
	inBubble(t, func(cfg *Config, _ *Deps) { cfg.CheckTypes = CheckAll }, func(r *rig) {
		for name, typ := range map[string]string{"ordered": "FIFO", "%RETRY%g": "FIFO", "%DLQ%g": "FIFO"} {
			err := r.PutTopic(Topic{Name: name, ReadQueues: 1, WriteQueues: 1, Perm: 6, Attributes: map[string]string{AttrMessageType: typ}})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := r.PutGroup(DefaultGroup("g")); err != nil {
			t.Fatal(err)
		}
		in, out := message("", 0, "a", mq.PropShardingKey, "k"), message("", 0, "b")
		for _, c := range []struct {
			what string
			req  SendRequest
			want error
		}{
			{"a batch with one that is normal", SendRequest{Message: message("ordered", 0, string(batch(in, out))), Batch: true}, ErrMessageType},
			{"a batch in order", SendRequest{Message: message("ordered", 0, string(batch(in, in))), Batch: true}, nil},
			{"a batch with one key for all", SendRequest{Message: message("ordered", 0, string(batch(in, out)), mq.PropShardingKey, "k"), Batch: true}, nil},
			{"a retry", SendRequest{Message: message("%RETRY%g", 0, "x")}, nil},
			{"a dead letter", SendRequest{Message: message("%DLQ%g", 0, "x")}, nil},
		} {
			if _, err := r.trySend(&c.req); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.what, err, c.want)
			}
		}
		for _, typ := range []string{"LITE", "PRIORITY", "fifo", ""} {
			err := r.PutTopic(Topic{Name: "other", ReadQueues: 1, WriteQueues: 1, Perm: 6, Attributes: map[string]string{AttrMessageType: typ}})
			if !errors.Is(err, ErrBadRequest) {
				t.Errorf("a topic of type %q was made: %v", typ, err)
			}
		}
	})
}
