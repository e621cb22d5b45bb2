package broker

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// invisibleAfterLoss is how soon others get what a client was given and can't
// have got.
const invisibleAfterLoss = time.Second

// ErrMemberLeft is the cause with which a front ends the pops of a member that
// has said goodbye.
var ErrMemberLeft = errors.New("the member has left its group")

// AwaitPop is Pop that waits. Where ctx ends first nobody hears the answer any
// more: what it brings is given back.
func (b *Broker) AwaitPop(ctx context.Context, req *PopRequest) (PopResult, error) {
	type answer struct {
		r   PopResult
		err error
	}
	ch := make(chan answer, 1)
	b.Pop(ctx, req, func(r PopResult, err error) { ch <- answer{r, err} })
	select {
	case a := <-ch:
		return a.r, a.err
	case <-ctx.Done():
	}
	go func() {
		a := <-ch
		for i := range a.r.Messages {
			// What is in order is kept for the client's next try, if there may be one.
			if !req.Ordered || errors.Is(context.Cause(ctx), ErrMemberLeft) {
				b.GiveBack(req.Group, a.r.Messages[i].Handle)
			}
		}
		if a.r.Free != nil {
			a.r.Free()
		}
	}()
	return PopResult{}, ctx.Err()
}

// GiveBack has others get soon what a pop gave a client that can't have got it,
// or that is gone.
func (b *Broker) GiveBack(group string, h Handle) {
	if _, err := b.ChangeInvisible(context.Background(), group, h, invisibleAfterLoss, false); err != nil {
		b.logger.Debug("message of a lost client not given back",
			slog.String("group", group), slog.String("topic", h.Topic), slog.Any("err", err))
	}
}
