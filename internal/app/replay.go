package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"varve/broker"
	"varve/internal/admin"
	"varve/internal/archive"
	"varve/internal/config"
	"varve/internal/mq"
	"varve/replay"
)

// openReplay makes the replay jobs. They write through the broker's log, so a
// process without one only streams.
func (n *Node) openReplay(context.Context) error {
	if !n.cfg.Has(config.RoleHistory) {
		return nil
	}
	var err error
	n.replay, err = replay.New(replay.Config{Permanent: damagedArchive, Starting: n.leaseJob, Streaming: n.leaseStream, Logger: n.log}, replaySource{n.reader, n}, n.meta.Table("replay"), publisher{n})
	if err != nil {
		return fmt.Errorf("start replay: %w", err)
	}
	n.onRun("replay", n.replay.Run)
	return nil
}

// damagedArchive tells errors that last until somebody puts the archive right.
func damagedArchive(err error) bool { return errors.Is(err, archive.ErrDamaged) }

// replaySource reads every tier and knows the queues of each.
type replaySource struct {
	mq.Reader
	n *Node
}

func (s replaySource) Queues(ctx context.Context, topic string) ([]mq.Queue, error) {
	var out []mq.Queue
	if s.n.store != nil {
		out = s.n.store.QueuesOf(topic)
	}
	t, err := s.n.archive.Table(ctx, topic)
	if errors.Is(err, archive.ErrNoTable) {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("queues of %s: %w", topic, err)
	}
	for _, q := range t.Index().Queues() {
		if !slices.Contains(out, q) {
			out = append(out, q)
		}
	}
	return out, nil
}

// publisher writes replayed messages into the broker's log, past the checks
// and changes that a client's send goes through: they are stored as they were.
type publisher struct{ n *Node }

var errNoBroker = errors.New("this process doesn't run the broker role: it can replay to a stream, not into a topic")

func (p publisher) Queues(_ context.Context, topic string, count int) ([]mq.Queue, error) {
	if p.n.broker == nil {
		return nil, errNoBroker
	}
	t, ok := p.n.broker.Topic(topic)
	if !ok {
		made := broker.Topic{Name: topic, ReadQueues: int32(max(count, 1)), WriteQueues: int32(max(count, 1)), Perm: 6}
		if err := p.n.broker.PutTopic(made); err != nil {
			return nil, fmt.Errorf("make topic %s: %w", topic, err)
		}
		t = &made
	}
	if !t.Writable() {
		return nil, fmt.Errorf("topic %s may not be written to", topic)
	}
	out := make([]mq.Queue, t.WriteQueues)
	for i := range out {
		out[i] = mq.Queue{Broker: p.n.cfg.Broker.Name, Topic: topic, ID: int32(i)}
	}
	return out, nil
}

func (p publisher) Publish(ctx context.Context, q mq.Queue, msgs []*mq.Message) (first int64, err error) {
	if p.n.broker == nil {
		return 0, errNoBroker
	}
	if _, ok := p.n.broker.Topic(q.Topic); !ok { // the log would begin it anew
		return 0, fmt.Errorf("%w: topic %q was deleted", replay.ErrGone, q.Topic)
	}
	for _, m := range msgs {
		m.Topic, m.QueueID = q.Topic, q.ID
		m.StoreHost = p.n.advertise
	}
	// The outcome of an append that was begun is waited for, whatever ctx does.
	placed, err := p.n.store.Append(context.WithoutCancel(ctx), msgs)
	if err != nil {
		return 0, fmt.Errorf("append %d messages to %s: %w", len(msgs), q, err)
	}
	return placed[0].QueueOffset, nil
}

func (p publisher) Flush(ctx context.Context) error {
	return p.n.store.Flush(ctx)
}

// replayAPI implements admin.Replay.
type replayAPI struct{ n *Node }

func replaySpec(s admin.ReplaySpec) replay.Spec {
	out := replay.Spec{
		Source: s.Topic, Queues: s.Queues, FromOffset: s.FromOffset, ToOffset: s.ToOffset, Tag: s.Tags, SQL: s.SQL,
		SkipErased: s.SkipErased, MessagesPerSecond: int64(s.Rate), Destination: s.Target,
	}
	if !s.From.IsZero() {
		out.FromMillis = s.From.UnixMilli()
	}
	if !s.To.IsZero() {
		out.ToMillis = s.To.UnixMilli()
	}
	return out
}

func replayJob(j replay.Job, err error) (admin.ReplayJob, error) {
	if err != nil {
		return admin.ReplayJob{}, replayError(err)
	}
	p, s := j.Progress(), j.Spec
	spec := admin.ReplaySpec{
		Topic: s.Source, Queues: s.Queues, From: millis(s.FromMillis), To: millis(s.ToMillis), FromOffset: s.FromOffset,
		ToOffset: s.ToOffset, Tags: s.Tag, SQL: s.SQL, SkipErased: s.SkipErased, Target: s.Destination, Rate: int(s.MessagesPerSecond),
	}
	return admin.ReplayJob{
		ID: j.ID, State: string(j.State), Error: j.Error, Spec: spec, Scanned: p.Read, Sent: p.Written, Missing: p.Missing,
		Total: p.Offsets, Started: j.Created, Ended: j.Ended,
	}, nil
}

func replayError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, replay.ErrNoJob), errors.Is(err, mq.ErrNoQueue):
		return admin.NotFound("%v", err)
	case errors.Is(err, replay.ErrBadSpec):
		return admin.BadRequest("%s", strings.TrimPrefix(err.Error(), replay.ErrBadSpec.Error()+": "))
	case errors.Is(err, broker.ErrBadRequest):
		return admin.BadRequest("%v", err)
	case errors.Is(err, replay.ErrState), errors.Is(err, errNoBroker):
		return admin.Conflict("%v", err)
	}
	return coldError(err)
}

func (a replayAPI) known(ctx context.Context, topic string) error {
	queues, err := replaySource{a.n.reader, a.n}.Queues(ctx, topic)
	if err != nil {
		return coldError(err)
	}
	if len(queues) == 0 {
		return admin.NotFound("topic %q has no messages, hot or archived", topic)
	}
	return nil
}

func (a replayAPI) StartReplay(ctx context.Context, s admin.ReplaySpec) (admin.ReplayJob, error) {
	if err := a.known(ctx, s.Topic); err != nil {
		return admin.ReplayJob{}, err
	}
	return replayJob(a.n.replay.Start(ctx, replaySpec(s)))
}

func (a replayAPI) Replays(context.Context) ([]admin.ReplayJob, error) {
	out := []admin.ReplayJob{}
	for _, j := range a.n.replay.List() {
		one, err := replayJob(j, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func (a replayAPI) ReplayJob(_ context.Context, id string) (admin.ReplayJob, error) {
	return replayJob(a.n.replay.Get(id))
}

// replayWait is how long a look at a running job waits for it to end, so that
// who waits for a job needs few looks.
const replayWait = 10 * time.Second

func (a replayAPI) AwaitReplay(ctx context.Context, id string) (admin.ReplayJob, error) {
	wait, cancel := context.WithTimeout(ctx, replayWait)
	defer cancel()
	j, err := a.n.replay.Wait(wait, id)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return replayJob(a.n.replay.Get(id))
	}
	return replayJob(j, err)
}

func (a replayAPI) ReplayAction(ctx context.Context, id, action string) (admin.ReplayJob, error) {
	switch action {
	case "pause":
		return replayJob(a.n.replay.Pause(ctx, id))
	case "resume":
		return replayJob(a.n.replay.Resume(ctx, id))
	}
	return replayJob(a.n.replay.Cancel(ctx, id))
}

func (a replayAPI) StreamReplay(ctx context.Context, s admin.ReplaySpec, w io.Writer) error {
	if err := a.known(ctx, s.Topic); err != nil {
		return err
	}
	_, err := a.n.replay.Stream(ctx, replaySpec(s), w)
	return replayError(err)
}
