package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/mq"
)

// TestStories runs the scripts of testdata against a broker on a file system
// in memory, in time that only sleeps let pass. A script is one story; a new
// one needs no code:
//
//	topic name=T [queues=N] [perm=N]      delete-topic name=T
//	send topic=T [queue=N] [handle=NAME] [P=V…]   the input's lines are the bodies
//	recall topic=T handle=NAME|raw=TEXT   what the send's handle names
//	pull topic=T offset=N [queue=N] [group=G [sub]] [expr=E] [type=SQL92]
//	     [max=N] [commit=N] [hold=15s as=NAME] [routable] [client=C]
//	answer of=NAME                        what a held pull got, and when
//	beat group=G client=C topic=T expr=E  disconnect client=C
//	commit|query group=G topic=T …        reset group=G topic=T …
//	range|search|earliest topic=T …       back group=G topic=T [archived]
//	archive                               moves all but the last segment away
//	group name=G [retries=N] [retry-queues=N] [disabled] [policy: the input, as JSON] · delete-group name=G [clean] · clone from=G to=G [topic=T]
//	sleep for=1s · restart · stats · consume-stats group=G [topic=T] · topic-stats topic=T
//	half, end, halves, resolve, restore, producer, asked: see txn_test.go
//	names group=G topic=T · all topic=T · lock group=G client=C topic=T
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		synctest.Test(t, func(t *testing.T) {
			s := &story{held: map[string]heldPull{}, clients: map[string]*client{}, handles: map[string]string{}, halves: map[string]Receipt{}, cold: &archived{queues: map[mq.Queue][]mq.Record{}}}
			s.rig = newRig(t, vfs.NewMem(), s.settings(path))
			defer func() { s.stop() }()
			s.start = time.Now()
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				out, err := s.run(arguments{t, d})
				if err != nil {
					return "error: " + err.Error() + "\n"
				}
				return out
			})
		})
	})
}

type story struct {
	handles map[string]string // recall handles by name
	*rig
	start   time.Time
	held    map[string]heldPull
	clients map[string]*client
	halves  map[string]Receipt
	cold    *archived
}

type heldPull struct {
	ch    <-chan pulled
	since time.Time
}

// settings: the name of a story chooses those that aren't the default.
func (s *story) settings(path string) func(*Config, *Deps) {
	return func(c *Config, d *Deps) {
		s.cold.log = d.Log
		d.Reader, d.Finder = s.cold, s.cold
		if strings.Contains(path, "routed") {
			c.HistoryBrokerID = 1000
		}
		if strings.Contains(path, "closed") {
			c.AutoCreateTopics, c.AutoCreateGroups = false, false
		}
		if strings.Contains(path, "bounded") {
			c.MaxTimerDelay = 72 * time.Hour
		}
		c.FreshBytes = 4096
	}
}

type arguments struct {
	t *testing.T
	*datadriven.TestData
}

func (a arguments) word(name string) string {
	for _, arg := range a.CmdArgs {
		if arg.Key == name && len(arg.Vals) == 1 {
			return arg.Vals[0]
		}
	}
	return ""
}

func (a arguments) number(name string, without int64) int64 {
	w := a.word(name)
	if w == "" {
		return without
	}
	n, err := strconv.ParseInt(w, 10, 64)
	if err != nil {
		a.Fatalf(a.t, "%s: %v", name, err)
	}
	return n
}

func (a arguments) duration(name string) time.Duration {
	w := a.word(name)
	if w == "" {
		return 0
	}
	d, err := time.ParseDuration(w)
	if err != nil {
		a.Fatalf(a.t, "%s: %v", name, err)
	}
	return d
}

func (s *story) run(a arguments) (string, error) {
	topic, group, queue := a.word("topic"), a.word("group"), int32(a.number("queue", 0))
	switch a.Cmd {
	case "topic":
		n := int32(a.number("queues", 1))
		return "", s.PutTopic(Topic{Name: a.word("name"), ReadQueues: n, WriteQueues: n, Perm: int32(a.number("perm", 6))})
	case "delete-topic":
		return "", s.DeleteTopic(context.Background(), a.word("name"))
	case "send":
		return s.sendLines(a)
	case "recall":
		id, hit, err := s.Recall(context.Background(), a.word("topic"), cmp.Or(s.handles[a.word("handle")], a.word("raw")))
		return fmt.Sprintf("%s: hit %v\n", id, hit), err
	case "pull":
		return s.pullStory(a)
	case "answer":
		h := s.held[a.word("of")]
		p := <-h.ch
		return fmt.Sprintf("after %v: %v\n", time.Since(h.since), p), nil
	case "beat":
		s.join(s.client(a.word("client")), a.word("client"), group, topic, a.word("expr"))
		return "", nil
	case "disconnect":
		s.Disconnect(s.client(a.word("client")))
		return "", nil
	case "commit":
		return "", s.CommitOffset(group, topic, queue, a.number("offset", 0))
	case "query":
		off, err := s.QueryOffset(context.Background(), group, topic, queue, !a.HasArg("no-zero"))
		return fmt.Sprintln(off), err
	case "reset":
		return s.reset(a)
	case "range":
		r, err := s.QueueRange(context.Background(), topic, queue)
		return fmt.Sprintf("%d to %d\n", r.From, r.To), err
	case "search":
		bound := mq.Lower
		if a.HasArg("upper") {
			bound = mq.Upper
		}
		off, err := s.SearchOffset(context.Background(), topic, queue, s.start.Add(a.duration("at")).UnixMilli(), bound)
		return fmt.Sprintln(off), err
	case "earliest":
		ms, err := s.EarliestTime(context.Background(), topic, queue)
		return fmt.Sprintln(time.UnixMilli(ms).Sub(s.start)), err
	case "back":
		return "", s.back(a)
	case "archive":
		return "", s.archive()
	case "sleep":
		time.Sleep(a.duration("for"))
		synctest.Wait()
		return "", nil
	case "restart":
		s.stop()
		s.rig = newRig(a.t, s.fs, s.settings(a.Pos))
		synctest.Wait()
		return "", nil
	case "all":
		return s.list(topic, queue), nil
	case "group":
		g := DefaultGroup(a.word("name"))
		g.RetryMaxTimes, g.RetryQueues = int32(a.number("retries", 16)), int32(a.number("retry-queues", 1))
		g.ConsumeEnabled = !a.HasArg("disabled")
		if a.Input != "" {
			if err := json.Unmarshal([]byte(a.Input), &g.RetryPolicy); err != nil {
				return "", err
			}
		}
		return "", s.PutGroup(g)
	case "delete-group":
		return "", s.DeleteGroup(a.word("name"), a.HasArg("clean"))
	case "clone":
		return "", s.CloneOffsets(a.word("from"), a.word("to"), topic)
	case "consume-stats":
		return s.consumeStats(group, topic)
	case "topic-stats":
		return s.topicStats(topic)
	case "names":
		return fmt.Sprintf("groups of the topic: %v, topics of the group: %v\n", s.GroupsOfTopic(topic), s.TopicsOfGroup(group)), nil
	case "lock":
		return fmt.Sprintln(len(s.LockQueues(group, a.word("client"), []mq.Queue{s.queue(topic, queue)}))), nil
	case "stats":
		synctest.Wait()
		st := s.Stats()
		return fmt.Sprintf("sent %d, held back %d, sent back %d, dead letters %d, cold reads %d, routed %d, pulls held %d\n",
			st.Sends, st.TimersPending, st.SendBacks, st.DeadLetters, st.ColdReads, st.ColdRouted, st.HeldPulls), nil
	}
	return s.transaction(a)
}

func (s *story) client(name string) *client {
	if s.clients[name] == nil {
		s.clients[name] = newClient()
		s.clients[name].addr = netip.AddrPortFrom(testHost.Addr(), uint16(40_000+len(s.clients)))
	}
	return s.clients[name]
}

func (s *story) sendLines(a arguments) (string, error) {
	var out strings.Builder
	for _, body := range strings.Split(strings.TrimSpace(a.Input), "\n") {
		m := message(a.word("topic"), int32(a.number("queue", 0)), body)
		req := &SendRequest{DefaultTopic: mq.AutoTopic, MaxReconsumeTimes: int32(a.number("max-retries", -1))}
		for _, arg := range a.CmdArgs {
			switch arg.Key {
			case "topic", "queue", "max-retries", "handle":
			case "retried":
				m.ReconsumeTimes = int32(a.number("retried", 0))
			case "in": // TIMER_DELIVER_MS, counted from now
				due := time.Now().Add(a.duration("in")).UnixMilli()
				m.Properties = mq.AppendProperty(m.Properties, mq.PropTimerDeliverMs, fmt.Sprint(due))
			default:
				m.Properties = mq.AppendProperty(m.Properties, arg.Key, strings.Join(arg.Vals, " "))
			}
		}
		req.Message = m
		got, err := s.trySend(req)
		if err != nil {
			return "", err
		}
		if name := a.word("handle"); name != "" {
			s.handles[name] = got[0].RecallHandle
		}
		fmt.Fprintf(&out, "%s/%d at %d\n", got[0].Queue.Topic, got[0].Queue.ID, got[0].QueueOffset)
	}
	if a.HasArg("quiet") {
		return "", nil
	}
	return out.String(), nil
}

func (s *story) pullStory(a arguments) (string, error) {
	req := inline(a.word("topic"), int32(a.number("queue", 0)), a.number("offset", 0))
	if g := a.word("group"); g != "" {
		req.Group = g
	}
	req.Inline = !a.HasArg("sub")
	req.SubVersion = a.number("version", 0)
	if e := a.word("expr"); e != "" {
		req.Expression, req.ExpressionType = e, a.word("type")
	}
	if a.Input != "" {
		req.Expression, req.ExpressionType = strings.TrimSpace(a.Input), a.word("type")
	}
	req.MaxMessages = int(a.number("max", 32))
	req.CommitOffset = a.number("commit", -1)
	req.Suspend = a.duration("hold")
	req.Routable = a.HasArg("routable")
	if name := a.word("client"); name != "" {
		req.Client = s.client(name)
	}
	ch := s.pullAsync(req)
	name := a.word("as")
	if name == "" {
		p := <-ch
		if p.err != nil {
			return "", p.err
		}
		return p.String() + "\n", nil
	}
	s.held[name] = heldPull{ch, time.Now()}
	synctest.Wait()
	if len(ch) > 0 {
		return "answered at once\n", nil
	}
	return "held\n", nil
}

func (s *story) reset(a arguments) (string, error) {
	req := &ResetRequest{Group: a.word("group"), Topic: a.word("topic"), QueueID: int32(a.number("queue", AnyQueue)), Offset: a.number("offset", -1)}
	switch at := a.word("at"); at {
	case "":
	case "end":
		req.TimeMillis = -1
	default:
		req.TimeMillis = s.start.Add(a.duration("at")).UnixMilli()
	}
	to, err := s.ResetOffset(context.Background(), req)
	var out []string
	for q, off := range to {
		out = append(out, fmt.Sprintf("%d: %d\n", q.ID, off))
	}
	slices.Sort(out)
	return strings.Join(out, ""), err
}

// back sends the last message of a queue back, or its first archived one.
func (s *story) back(a arguments) error {
	topic := a.word("topic")
	recs := s.cold.queues[s.queue(topic, 0)]
	phys := a.number("physical", -1)
	if a.HasArg("archived") {
		phys = recs[0].PhysicalOffset()
	}
	if phys < 0 {
		msgs := s.all(topic, int32(a.number("queue", 0)))
		if len(msgs) > 0 {
			phys = msgs[len(msgs)-1].PhysicalOffset
		}
	}
	return s.SendBack(context.Background(), &SendBackRequest{
		Group: a.word("group"), PhysicalOffset: phys, DelayLevel: int32(a.number("level", 0)),
		MaxReconsumeTimes: int32(a.number("max", -1)),
	})
}

func (s *story) list(topic string, queue int32) string {
	synctest.Wait()
	var out strings.Builder
	for _, m := range s.all(topic, queue) {
		fmt.Fprintf(&out, "%d: %s", m.QueueOffset, m.Body)
		if m.ReconsumeTimes > 0 {
			fmt.Fprintf(&out, ", retry %d", m.ReconsumeTimes)
		}
		for _, p := range props(m) {
			if !strings.HasPrefix(p, mq.PropOriginMessageID) {
				fmt.Fprintf(&out, " %s", p)
			}
		}
		fmt.Fprintf(&out, " (%v)\n", time.UnixMilli(m.StoreTimeMillis).Sub(s.start).Round(time.Millisecond))
	}
	return out.String()
}

// archive copies the log to the fake archive and trims it.
func (s *story) archive() error {
	ctx := context.Background()
	if err := errors.Join(s.log.Roll(ctx), s.log.Flush(ctx)); err != nil {
		return err
	}
	marks := map[mq.Queue]int64{}
	for _, q := range s.log.Queues() {
		if mq.SystemTopic(q.Topic) {
			continue
		}
		r, err := s.log.Range(ctx, q)
		if err != nil {
			return err
		}
		for at := max(r.From, int64(len(s.cold.queues[q]))); at < r.To; {
			b, err := s.log.Read(ctx, q, at, mq.Limit{})
			if err != nil {
				return err
			}
			for rec := range mq.Records(b.Body) {
				s.cold.queues[q] = append(s.cold.queues[q], rec)
			}
			at = b.Next
		}
		marks[q] = r.To
	}
	time.Sleep(10 * time.Second) // checkpoints and the timer's own saving
	synctest.Wait()
	if err := s.log.SetArchived(marks, s.log.Stats().DurablePhysical); err != nil {
		return err
	}
	_, err := s.log.Trim(ctx, hot.TrimPolicy{})
	return err
}

// archived is a tier of the log and of what was moved out of it.
type archived struct {
	log    *hot.Store
	queues map[mq.Queue][]mq.Record
}

func (c *archived) Range(ctx context.Context, q mq.Queue) (mq.Range, error) {
	r, err := c.log.Range(ctx, q)
	if err == nil && len(c.queues[q]) > 0 {
		r.From = 0
	}
	return r, err
}

func (c *archived) Read(ctx context.Context, q mq.Queue, at int64, lim mq.Limit) (mq.Batch, error) {
	recs := c.queues[q]
	if at >= int64(len(recs)) {
		return c.log.Read(ctx, q, at, lim)
	}
	r, err := c.Range(ctx, q)
	b := mq.Batch{Next: at, Range: r}
	for _, rec := range recs[at:] {
		if lim.Messages > 0 && b.Count == lim.Messages {
			break
		}
		b.Next++
		if lim.Filter == nil || lim.Filter.MatchRecord(rec) {
			b.Body, b.Count = append(b.Body, rec...), b.Count+1
		}
	}
	return b, err
}

func (c *archived) OffsetAt(ctx context.Context, q mq.Queue, millis int64, bound mq.Bound) (int64, error) {
	return c.log.OffsetAt(ctx, q, millis, bound)
}

func (c *archived) FindPhysical(ctx context.Context, broker string, at int64) (mq.Record, error) {
	for _, recs := range c.queues {
		for _, rec := range recs {
			if rec.PhysicalOffset() == at {
				return rec, nil
			}
		}
	}
	return c.log.FindPhysical(ctx, broker, at)
}

func (c *archived) FindKey(ctx context.Context, k mq.KeyQuery) (mq.Batch, error) {
	return c.log.FindKey(ctx, k)
}

// consumeStats gives a group's progress, queue by queue.
func (s *story) consumeStats(group, topic string) (string, error) {
	all, err := s.ConsumeStats(context.Background(), group, topic)
	var out strings.Builder
	for _, c := range all {
		fmt.Fprintf(&out, "%s/%d: at %d of %d, pulled %d", c.Queue.Topic, c.Queue.ID, c.ConsumerOffset, c.BrokerOffset, c.PullOffset)
		if c.LastUpdateMillis > 0 {
			fmt.Fprintf(&out, ", last stored at %v", time.UnixMilli(c.LastUpdateMillis).Sub(s.start))
		}
		out.WriteByte('\n')
	}
	return out.String(), err
}

// topicStats gives the figures of a topic's queues.
func (s *story) topicStats(topic string) (string, error) {
	all, err := s.TopicStats(context.Background(), topic)
	var out strings.Builder
	for _, q := range all {
		fmt.Fprintf(&out, "%d: %d to %d", q.Queue.ID, q.Min, q.Max)
		if q.LastUpdateMillis > 0 {
			fmt.Fprintf(&out, ", last stored at %v", time.UnixMilli(q.LastUpdateMillis).Sub(s.start))
		}
		out.WriteByte('\n')
	}
	return out.String(), err
}
