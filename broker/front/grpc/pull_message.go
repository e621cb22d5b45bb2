package grpc

import (
	"context"
	"time"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	rpc "google.golang.org/grpc"

	"varve/broker"
	"varve/internal/mq"
)

// PullMessage reads a queue from an offset on, wherever its messages are: the
// log or the archive.
//
// Behaviours: first a status, then the messages, then the offset to go on at.
// Nothing there is MESSAGE_NOT_FOUND, after long_polling_timeout where the call
// has one, and the next offset is past what the filter refused. An offset
// outside the queue, or one that somebody has reset since, is ILLEGAL_OFFSET
// and the next offset is where there is something. The group's progress is not
// touched: that is UpdateOffset.
func (f *Front) PullMessage(req *v2.PullMessageRequest, stream rpc.ServerStreamingServer[v2.PullMessageResponse]) error {
	ctx := stream.Context()
	r, err := f.pull(ctx, req)
	if err != nil {
		return stream.Send(&v2.PullMessageResponse{Content: &v2.PullMessageResponse_Status{Status: f.status("PullMessage", err)}})
	}
	defer r.Batch.Release()
	code := pullCodes[r.Status]
	err = stream.Send(&v2.PullMessageResponse{Content: &v2.PullMessageResponse_Status{Status: statusIs(code)}})
	if err == nil && r.Status == broker.PullFound {
		err = f.sendPulled(stream, req.GetMessageQueue().GetTopic(), &r)
	}
	if err != nil {
		return err
	}
	return stream.Send(&v2.PullMessageResponse{Content: &v2.PullMessageResponse_NextOffset{NextOffset: r.Next}})
}

var pullCodes = [...]v2.Code{
	broker.PullFound:     v2.Code_OK,
	broker.PullNoNew:     v2.Code_MESSAGE_NOT_FOUND,
	broker.PullNoMatch:   v2.Code_MESSAGE_NOT_FOUND,
	broker.PullMoved:     v2.Code_ILLEGAL_OFFSET,
	broker.PullElsewhere: v2.Code_MESSAGE_NOT_FOUND,
}

// pull asks the core until there is a message, the time is over, or the offset
// is no good.
func (f *Front) pull(ctx context.Context, req *v2.PullMessageRequest) (broker.PullResult, error) {
	p, err := f.pullRequest(ctx, req)
	if err != nil {
		return broker.PullResult{}, err
	}
	until := f.cfg.Now().Add(p.Suspend)
	for {
		r, err := f.pullOnce(ctx, *p)
		if err != nil || r.Status != broker.PullNoMatch {
			return r, err
		}
		// All that was looked at was refused by the filter: read on.
		if p.Suspend = until.Sub(f.cfg.Now()); p.Suspend <= 0 {
			return r, nil
		}
		p.Offset = r.Next
	}
}

// pullOnce is the core's Pull, waited for. p is the core's own afterwards.
func (f *Front) pullOnce(ctx context.Context, p broker.PullRequest) (broker.PullResult, error) {
	type answer struct {
		r   broker.PullResult
		err error
	}
	ch := make(chan answer, 1)
	f.broker.Pull(ctx, &p, func(r broker.PullResult, err error) { ch <- answer{r, err} })
	select {
	case a := <-ch:
		return a.r, a.err
	case <-ctx.Done():
	}
	go func() { // nobody hears it any more
		a := <-ch
		a.r.Batch.Release()
	}()
	return broker.PullResult{}, ctx.Err()
}

func (f *Front) pullRequest(ctx context.Context, req *v2.PullMessageRequest) (*broker.PullRequest, error) {
	if _, err := f.admit(ctx, req); err != nil {
		return nil, err
	}
	q := req.GetMessageQueue()
	topic, group, err := topicAndGroup(q.GetTopic(), req.GetGroup())
	if err != nil {
		return nil, err
	}
	if err := connectionOf(ctx).use(f.broker, topic); err != nil {
		return nil, err
	}
	p := &broker.PullRequest{
		Group: group, Topic: topic, QueueID: q.GetId(), Offset: req.GetOffset(),
		MaxMessages: int(max(req.GetBatchSize(), 1)), CommitOffset: -1,
		Inline: true, Expression: req.GetFilterExpression().GetExpression(), ExpressionType: expressionType(req.GetFilterExpression()),
		Backlog: connectionOf(ctx).unread(),
	}
	if d := req.GetLongPollingTimeout(); d != nil {
		p.Suspend = min(d.AsDuration(), maxPolling, untilDeadline(ctx, d.AsDuration()))
	}
	return p, nil
}

// answerTime is what of a deadline is kept for the answer to travel.
const answerTime = 100 * time.Millisecond

// untilDeadline is how long a call may wait, at most most.
func untilDeadline(ctx context.Context, most time.Duration) time.Duration {
	if at, ok := ctx.Deadline(); ok {
		return max(0, min(most, time.Until(at)-answerTime))
	}
	return most
}

func (f *Front) sendPulled(stream rpc.ServerStreamingServer[v2.PullMessageResponse], topic *v2.Resource, r *broker.PullResult) error {
	for rec := range mq.Records(r.Batch.Body) {
		o := outgoingOf(rec, topic, "")
		if err := stream.Send(&v2.PullMessageResponse{Content: &v2.PullMessageResponse_Message{Message: &o.msg}}); err != nil {
			return err
		}
	}
	return nil
}
