package archive

import (
	"context"
	"sync/atomic"
	"time"
)

// maxYield bounds what a commit waits so that others get their turn.
const maxYield = 2 * time.Second

// yielded is how the writers of several broker groups share a table. Who loses a
// race has to read the new version and try again, which takes a commit's time; one
// that is quick and always has something to commit would win for ever, and not
// even know of the others. So each leaves, after a commit, about four times
// that commit's time free for each of the others: most of the time nobody who has
// just won commits, and a writer gets its turn after a few tries, even one whose
// tries take several times as long.
type yielded struct {
	until atomic.Int64 // nanoseconds since 1970
}

// won notes a commit that began then, to a table of so many broker groups.
func (y *yielded) won(began time.Time, brokers int) {
	if brokers < 2 {
		return
	}
	now := time.Now()
	d := min(4*time.Duration(brokers-1)*now.Sub(began), maxYield)
	y.until.Store(now.Add(d/2 + jitter(d)).UnixNano()) // in step, the others would always find the same one faster
}

// wait waits until the next commit may begin.
func (y *yielded) wait(ctx context.Context) error {
	d := time.Until(time.Unix(0, y.until.Load()))
	return pause(ctx, min(d, maxYield)) // a clock that was set back is no reason to wait
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
