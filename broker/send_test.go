package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// inBubble runs a test in fake time.
func inBubble(t *testing.T, change func(*Config, *Deps), test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), change)
		defer r.stop()
		test(r)
	})
}

func TestStoredMessageIsTheSentOne(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		m := message("orders", 2, "body", mq.PropKeys, "k1 k2", mq.PropTags, "paid", mq.PropWait, "true",
			mq.PropUniqKey, "0A0B", mq.PropPopCK, "x", mq.PropTraceOn, "false", "note", "")
		m.Flag, m.BornTimeMillis, m.SysFlag = 7, 12345, mq.SysCompressed
		got := r.send(m)
		if got.MsgID != "0A0B" || got.OffsetMsgID() != mq.OffsetMsgID(testHost, got.PhysicalOffset) {
			t.Errorf("receipt %+v", got)
		}
		rec, err := r.ViewMessage(t.Context(), got.PhysicalOffset)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := rec.Decode()
		if err != nil {
			t.Fatal(err)
		}
		want := "KEYS=k1 k2|TAGS=paid|UNIQ_KEY=0A0B|note=|MSG_REGION=DefaultRegion|TRACE_ON=true|CLUSTER=DefaultCluster"
		if got := strings.NewReplacer("\x01", "=", "\x02", "|").Replace(string(stored.Properties)); got != want+"|" {
			t.Errorf("stored properties are %s\nwant %s", got, want)
		}
		if stored.Topic != "orders" || stored.QueueID != 2 || string(stored.Body) != "body" || stored.Flag != 7 ||
			stored.BornTimeMillis != 12345 || stored.SysFlag != mq.SysCompressed || stored.BornHost != testHost || stored.StoreHost != testHost {
			t.Errorf("stored message is %+v", stored)
		}
		found, err := r.QueryByKey(t.Context(), mq.KeyQuery{Topic: "orders", Key: "k2"})
		if err != nil || found.Count != 1 {
			t.Errorf("by key: %d messages, error %v", found.Count, err)
		}
	})
}

func TestRefusedSends(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		if err := errors.Join(
			r.PutTopic(Topic{Name: "orders", ReadQueues: 4, WriteQueues: 2, Perm: 6}),
			r.PutTopic(Topic{Name: "readonly", ReadQueues: 1, WriteQueues: 1, Perm: 4}),
			r.PutTopic(Topic{Name: "compact", ReadQueues: 1, WriteQueues: 1, Perm: 6, Attributes: map[string]string{propCompactionPolicy: "COMPACTION"}}),
		); err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("x", 1000)
		big := message("orders", 0, "")
		for i := range 33 {
			big.Properties = mq.AppendProperty(big.Properties, fmt.Sprint("p", i), long)
		}
		half := message("orders", 0, "x")
		half.SysFlag = mq.SysPrepared
		for _, c := range []struct {
			m    mq.Message
			want error
		}{
			{message("orders", 4, "x"), ErrBadRequest},
			{message("or ders", 0, "x"), ErrBadRequest},
			{message(strings.Repeat("t", 128), 0, "x"), ErrBadRequest},
			{message("", 0, "x"), ErrBadRequest},
			{message("readonly", 0, "x"), ErrForbidden},
			{message(mq.HalfTopic, 0, "x"), ErrForbidden},
			{message("orders", 0, strings.Repeat("x", mq.MaxBodyLen+1)), ErrIllegalMessage},
			{big, ErrIllegalMessage},
			{message("orders", 0, "x", mq.PropTransaction, "true"), ErrIllegalMessage},
			{half, ErrIllegalMessage},
			{message("compact", 0, "x"), ErrIllegalMessage},
		} {
			_, err := r.trySend(&SendRequest{Message: c.m})
			if !errors.Is(err, c.want) {
				t.Errorf("topic %.20q, queue %d: error %v, want %v", c.m.Topic, c.m.QueueID, err, c.want)
			}
		}
		r.send(message("orders", 3, "x"))
		r.send(message("compact", 0, "x", mq.PropKeys, "k"))
		r.send(message("orders", 0, ""))
		r.send(message("orders", 0, strings.Repeat("x", mq.MaxBodyLen)))
		for range 20 {
			if got := r.send(message("orders", AnyQueue, "x")); got.Queue.ID > 1 {
				t.Errorf("the broker picked queue %d of 2 that are written", got.Queue.ID)
			}
		}
		if st := r.Stats(); st.Sends != 24 || st.SendErrors != 11 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestTopicsThatSendsCreate(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		for _, c := range []struct {
			topic  string
			queues int32
			want   int32
		}{{"four", 4, 4}, {"many", 100, 8}, {"one", 1, 1}} {
			_, err := r.trySend(&SendRequest{Message: message(c.topic, 0, "x"), DefaultTopic: mq.AutoTopic, DefaultQueues: c.queues})
			if err != nil {
				t.Fatal(err)
			}
			made, ok := r.Topic(c.topic)
			if !ok || made.ReadQueues != c.want || made.WriteQueues != c.want || made.Perm != 6 {
				t.Errorf("topic %s is %+v, want %d queues", c.topic, made, c.want)
			}
		}
		_, err := r.trySend(&SendRequest{Message: message("five", 0, "x"), DefaultTopic: "four"})
		if !errors.Is(err, ErrNoTopic) {
			t.Errorf("a topic may be made after one without the inherit bit: %v", err)
		}
	})
}

// A send that is refused leaves no topic behind.
func TestRefusedSendsMakeNoTopic(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		for _, m := range []mq.Message{
			message("large", 0, strings.Repeat("x", mq.MaxBodyLen+1)),
			message("far", 99, "x"),
			message("wide", 0, "x", "p", strings.Repeat("x", mq.MaxPropertiesLen-2)),
			message(mq.RetryPrefix+"nobody", 0, "x"),
		} {
			req := &SendRequest{Message: m, DefaultTopic: mq.AutoTopic}
			if _, err := r.trySend(req); err == nil {
				t.Errorf("a message to %s is taken", m.Topic)
			}
			if made, ok := r.Topic(m.Topic); ok {
				t.Errorf("the refused send made %+v", made)
			}
		}
		broken := &SendRequest{Message: message("broken", 0, "no batch"), DefaultTopic: mq.AutoTopic, Batch: true}
		if _, err := r.trySend(broken); err == nil {
			t.Error("a broken batch is taken")
		} else if made, ok := r.Topic("broken"); ok {
			t.Errorf("the refused batch made %+v", made)
		}
	})
}

// batch encodes messages in RocketMQ's batch form.
func batch(msgs ...mq.Message) (out []byte) {
	for _, m := range msgs {
		n := batchHead + len(m.Body) + len(m.Properties)
		out = binary.BigEndian.AppendUint32(out, uint32(n))
		out = append(out, 0, 0, 0, 0, 0, 0, 0, 0)
		out = binary.BigEndian.AppendUint32(out, uint32(m.Flag))
		out = binary.BigEndian.AppendUint32(out, uint32(len(m.Body)))
		out = append(out, m.Body...)
		out = binary.BigEndian.AppendUint16(out, uint16(len(m.Properties)))
		out = append(out, m.Properties...)
	}
	return out
}

func TestBatch(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		a, b, c := message("", 0, "a", mq.PropTags, "t"), message("", 0, "", mq.PropUniqKey, "AB"), message("", 0, "c")
		a.Flag = 5
		whole := message("orders", 1, string(batch(a, b, c)), mq.PropWait, "true", "common", "yes")
		got, err := r.trySend(&SendRequest{Message: whole, Batch: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 3 || got[1].MsgID != "AB" || got[0].MsgID == got[2].MsgID || got[2].QueueOffset != 2 || got[2].Queue.ID != 1 {
			t.Errorf("receipts %+v", got)
		}
		stored := r.all("orders", 1)
		if len(stored) != 3 || stored[0].Flag != 5 || string(stored[0].Body) != "a" || len(stored[1].Body) != 0 {
			t.Fatalf("stored %+v", stored)
		}
		if p := fmt.Sprint(props(stored[0])); p != "[TAGS=t common=yes]" {
			t.Errorf("properties of the first are %s", p)
		}
		good := batch(a, b)
		for name, req := range map[string]*SendRequest{
			"cut":         {Message: message("orders", 0, string(good[:len(good)-1])), Batch: true},
			"empty":       {Message: message("orders", 0, ""), Batch: true},
			"bad length":  {Message: message("orders", 0, "\xff"+string(good[1:])), Batch: true},
			"retry topic": {Message: message("%RETRY%g", 0, string(good)), Batch: true},
			"delayed":     {Message: message("orders", 0, string(good), mq.PropDelay, "1"), Batch: true},
			"one delayed": {Message: message("orders", 0, string(batch(a, message("", 0, "x", mq.PropDelay, "1")))), Batch: true},
		} {
			if _, err := r.trySend(req); !errors.Is(err, ErrIllegalMessage) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		if n := len(r.all("orders", 0)); n != 0 {
			t.Errorf("refused batches left %d messages", n)
		}
	})
}

func FuzzBatch(f *testing.F) {
	f.Add(batch(message("", 0, "a", mq.PropTags, "t"), message("", 0, "")))
	f.Add([]byte{0, 0, 0, 22})
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := countBatch(body)
		if err != nil {
			return
		}
		rest := body
		total := 0
		for range n {
			var b, p []byte
			_, b, p, rest = nextInBatch(rest)
			total += batchHead + len(b) + len(p)
		}
		if len(rest) != 0 || total != len(body) {
			t.Errorf("%d messages of %d bytes leave %d of %d", n, total, len(rest), len(body))
		}
	})
}

func TestUniqMakerNeverRepeats(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		seen := map[string]bool{}
		for range 1000 {
			id := r.uniq.next(r.now())
			if len(id) != 32 || strings.ToUpper(id) != id || seen[id] {
				t.Fatalf("id %q", id)
			}
			seen[id] = true
		}
	})
}

func TestClosedBrokerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), nil)
		r.send(message("orders", 0, "x"))
		req := inline("orders", 0, 1)
		req.Suspend = 1 << 40
		held := r.pullAsync(req)
		synctest.Wait()
		r.stop()
		if p := <-held; !errors.Is(p.err, ErrClosed) {
			t.Errorf("held pull got %v", p)
		}
		if _, err := r.trySend(&SendRequest{Message: message("orders", 0, "x")}); !errors.Is(err, ErrClosed) {
			t.Errorf("send got %v", err)
		}
		if p := <-r.pullAsync(inline("orders", 0, 0)); !errors.Is(p.err, ErrClosed) {
			t.Errorf("pull got %v", p)
		}
	})
}

func TestHeldPullsAreBounded(t *testing.T) {
	inBubble(t, func(c *Config, _ *Deps) { c.MaxHeldPulls = 2 }, func(r *rig) {
		r.send(message("orders", 0, "x"))
		req := inline("orders", 0, 1)
		req.Suspend = 1 << 34
		first, second := r.pullAsync(req), r.pullAsync(req)
		if p := <-r.pullAsync(req); !errors.Is(p.err, ErrBusy) {
			t.Errorf("third pull got %v", p)
		}
		r.send(message("orders", 0, "y"))
		for _, ch := range []<-chan pulled{first, second} {
			if p := <-ch; p.err != nil || p.Next != 2 || p.Here {
				t.Errorf("held pull got %v, here %t", p, p.Here)
			}
		}
		if p := <-r.pullAsync(inline("orders", 0, 0)); p.err != nil || p.Next != 2 || !p.Here {
			t.Errorf("pull of what is there got %v, here %t", p, p.Here)
		}
	})
}

// A pull that has somewhere else to wait is answered at once where nothing can
// keep it, and goes there where its group has to be made, its filter looks
// through messages, or the disk is needed.
func TestPullsThatMayWaitGoElsewhere(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.send(message("orders", 0, "x"))
		var elsewhere []func()
		pull := func(req PullRequest) (answers []PullResult) {
			req.Elsewhere = func(f func()) { elsewhere = append(elsewhere, f) }
			r.Pull(t.Context(), &req, func(p PullResult, err error) {
				if err != nil {
					t.Error(err)
				}
				answers = append(answers, p)
			})
			for _, f := range elsewhere {
				if len(answers) > 0 {
					t.Error("a pull was answered and goes elsewhere too")
				}
				f()
			}
			return answers
		}
		for _, c := range []struct {
			what      string
			req       PullRequest
			elsewhere int
		}{
			{"a group that has to be made", inline("orders", 0, 0), 1},
			{"a known group", inline("orders", 0, 0), 0},
			{"a filter", func() PullRequest { p := inline("orders", 0, 0); p.Expression = "nothing || else"; return p }(), 1},
			{"a known group at the end", inline("orders", 0, 1), 0},
		} {
			elsewhere = nil
			got := pull(c.req)
			if len(elsewhere) != c.elsewhere || len(got) != 1 || !got[0].Here {
				t.Errorf("%s: went elsewhere %d times, answers %+v", c.what, len(elsewhere), got)
			}
		}
		time.Sleep(time.Minute) // the log's index goes to the disk
		elsewhere = nil
		if got := pull(inline("orders", 0, 0)); len(elsewhere) != 1 || len(got) != 1 || got[0].Status != PullFound {
			t.Errorf("a read that would wait: went elsewhere %d times, answers %+v", len(elsewhere), got)
		}
	})
}

// BenchmarkSubmit is a normal message up to the log and back, with the log on a
// file system in memory.
func BenchmarkSubmit(b *testing.B) {
	r := newRig(b, vfs.NewMem(), nil)
	defer r.stop()
	r.send(message("orders", 0, "x"))
	req := &SendRequest{Group: "g", MaxReconsumeTimes: -1, Message: message("orders", 0, strings.Repeat("x", 1024),
		mq.PropUniqKey, "7F0000010001000000000001A2B30001", mq.PropWait, "true", mq.PropTags, "paid", mq.PropKeys, "order-1")}
	b.Run("prepare", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			s := r.sendings.Get().(*sending)
			if err := r.prepare(s, req); err != nil {
				b.Fatal(err)
			}
			s.release()
		}
	})
	b.Run("stored", func(b *testing.B) {
		b.ReportAllocs()
		room := make(chan struct{}, 256)
		done := func(_ []Receipt, err error) {
			if err != nil {
				b.Error(err)
			}
			<-room
		}
		for range b.N {
			room <- struct{}{}
			r.Submit(req, done)
		}
		for range cap(room) {
			room <- struct{}{}
		}
	})
}
