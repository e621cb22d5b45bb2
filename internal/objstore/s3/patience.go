package s3

import (
	"context"
	"fmt"
	"time"

	"varve/internal/objstore"
)

// patience is the context of one request. It ends when the store is silent for
// too long while it is waited for.
type patience struct {
	context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	longest time.Duration
}

// newPatience begins to wait.
func newPatience(ctx context.Context, longest time.Duration) *patience {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &patience{Context: ctx, cancel: cancel, longest: longest}
	p.timer = time.AfterFunc(longest, func() { cancel(fmt.Errorf("%w within %s", objstore.ErrNoAnswer, longest)) })
	return p
}

// rest says that it is the store that waits now.
func (p *patience) rest() { p.timer.Stop() }

// wait begins anew to wait for the store.
func (p *patience) wait() { p.timer.Reset(p.longest) }

// end frees what the request holds.
func (p *patience) end() {
	p.timer.Stop()
	p.cancel(context.Canceled)
}
