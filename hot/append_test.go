package hot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

func TestAppendRefusals(t *testing.T) {
	s := mustOpen(t, "/hot", Options{FS: vfs.NewMem()})
	big := &mq.Message{Topic: "t", Body: make([]byte, mq.MaxBodyLen)}
	for name, c := range map[string]struct {
		msgs []*mq.Message
		want string
	}{
		"no topic":       {[]*mq.Message{{Body: []byte("x")}}, "topic is empty"},
		"negative queue": {[]*mq.Message{{Topic: "t", QueueID: -1}}, "queue id -1"},
		"second is bad":  {[]*mq.Message{{Topic: "t"}, {Topic: strings.Repeat("t", 200)}}, "message 2 of 2"},
		"large body":     {[]*mq.Message{{Topic: "t", Body: make([]byte, mq.MaxBodyLen+1)}}, "body of"},
		"large unit":     {[]*mq.Message{big, big, big, big, big}, "append is too large"},
	} {
		if _, err := s.Append(t.Context(), c.msgs); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if p, err := s.Append(t.Context(), nil); err != nil || len(p) != 0 {
		t.Errorf("no messages: %v, %v", p, err)
	}
	if len(s.Queues()) != 0 {
		t.Errorf("refused messages left queues: %v", s.Queues())
	}
	if p, err := s.Append(t.Context(), []*mq.Message{big, big, big}); err != nil || p[2].QueueOffset != 2 {
		t.Errorf("three messages of 4 MiB: %v, %v", p, err)
	}
	closed(t, s)
	if _, err := s.Append(t.Context(), []*mq.Message{{Topic: "t"}}); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed store: %v", err)
	}
	if _, err := s.Read(t.Context(), testQueue("t", 0), 0, mq.Limit{}); !errors.Is(err, ErrClosed) {
		t.Errorf("read of a closed store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// While the committer is stuck the waiting bytes are bounded, and each refusal
// says so at once.
func TestBusy(t *testing.T) {
	s := mustOpen(t, "/hot", Options{FS: vfs.NewMem(), MaxPendingBytes: 10_000})
	stuck, free := make(chan struct{}), make(chan struct{})
	go s.run(context.Background(), func() error {
		close(stuck)
		<-free
		return nil
	})
	<-stuck
	var wg sync.WaitGroup
	busy := 0
	for range 50 {
		wg.Add(1)
		s.Submit([]*mq.Message{{Topic: "t", Body: make([]byte, 900)}}, func(_ []Placed, err error) {
			defer wg.Done()
			if errors.Is(err, ErrBusy) {
				busy++ // called from Submit
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	if st := s.Stats(); st.PendingBytes > 10_000 || busy < 35 {
		t.Errorf("%d bytes wait, %d refused", st.PendingBytes, busy)
	}
	close(free)
	wg.Wait()
	closed(t, s)
}

func TestArrivals(t *testing.T) {
	s := mustOpen(t, "/hot", Options{FS: vfs.NewMem()})
	var mu sync.Mutex
	var got []string
	s.OnArrival(func(as []Arrival) {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range as {
			tag, _ := mq.Property(a.Properties, mq.PropTags)
			got = append(got, fmt.Sprintf("%s/%d %d %s %d", a.Queue.Topic, a.Queue.ID, a.Next, tag, a.TagHash))
			if r, err := s.Range(context.Background(), a.Queue); err != nil || r.To < a.Next {
				t.Errorf("told of %v before it can be read: %v, %v", a.Queue, r, err)
			}
		}
	})
	p := mq.AppendProperty(nil, mq.PropTags, "red")
	if _, err := s.Append(t.Context(), []*mq.Message{{Topic: "t"}, {Topic: "t", QueueID: 1, Properties: p}, {Topic: "t", Properties: p}}); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	red := fmt.Sprint(mq.TagHash("red"))
	want := []string{"t/0 1  0", "t/1 1 red " + red, "t/0 2 red " + red}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("arrivals %q, want %q", got, want)
	}
}

// A hundred thousand idle queues cost less than 300 bytes each.
func TestManyQueues(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 100,000 queues")
	}
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	const queues = 100_000
	names := make([]string, queues/4)
	for i := range names {
		names[i] = fmt.Sprintf("topic-%06d", i)
	}
	var wg sync.WaitGroup
	for i := range queues {
		wg.Add(1)
		s.Submit([]*mq.Message{{Topic: names[i/4], QueueID: int32(i % 4), Body: []byte("x")}}, func(_ []Placed, err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	closed(t, s)
	names = nil
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s = mustOpen(t, dir, Options{})
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / queues
	t.Logf("%d bytes a queue", each)
	if each > 300 {
		t.Errorf("an idle queue costs %d bytes", each)
	}
	if n := len(s.Queues()); n != queues {
		t.Errorf("%d queues", n)
	}
	b, err := s.Read(t.Context(), testQueue("topic-024999", 3), 0, mq.Limit{})
	if err != nil || b.Count != 1 || !bytes.Contains(b.Body, []byte("topic-024999")) {
		t.Errorf("reading the last queue: %d, %v", b.Count, err)
	}
	closed(t, s)
}
