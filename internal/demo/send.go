package demo

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"golang.org/x/sync/errgroup"
)

// senders is how many goroutines send at once, each one message at a time.
const senders = 64

func (r *run) producer() (rocketmq.Producer, error) {
	p, err := rocketmq.NewProducer(
		producer.WithNameServer(primitive.NamesrvAddr{r.route}), producer.WithGroupName("demo-senders"),
		producer.WithRetry(2), producer.WithSendMsgTimeout(10*time.Second),
	)
	if err != nil {
		return nil, fmt.Errorf("make the producer: %w", err)
	}
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("start the producer: %w", err)
	}
	return p, nil
}

// sendRange sends the messages [from, to) and returns when all are acked.
func (r *run) sendRange(ctx context.Context, p rocketmq.Producer, from, to int) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	next.Store(int64(from))
	for range senders {
		g.Go(func() error {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= to {
					return nil
				}
				if err := r.sendOne(ctx, p, n); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

func (r *run) sendOne(ctx context.Context, p rocketmq.Producer, n int) error {
	m := newMessage(topic, n)
	res, err := p.SendSync(ctx, m)
	if err != nil {
		return fmt.Errorf("send message %d: %w", n, err)
	}
	if res.Status != primitive.SendOK {
		return fmt.Errorf("send message %d: status %d", n, res.Status)
	}
	r.ledger.acked(n, m)
	return nil
}

// pause waits until the clock has moved on, so that a mark parts the messages
// before it from those after it.
func pause() time.Time {
	const apart = 5 * time.Millisecond
	<-time.After(apart)
	at := time.Now().Truncate(time.Millisecond)
	<-time.After(apart)
	return at
}

func (r *run) send(ctx context.Context) (string, error) {
	p, err := r.producer()
	if err != nil {
		return "", err
	}
	defer p.Shutdown()
	from := time.Now()
	r.marks[0] = pause()
	// The client looks the topic's route up once; senders that come while it
	// does are told that there is none.
	if err := r.sendOne(ctx, p, 0); err != nil {
		return "", err
	}
	sent := 1
	for i := 1; i < len(r.marks); i++ {
		r.cuts[i] = r.o.Messages * i / (len(r.marks) - 1)
		if err := r.sendRange(ctx, p, sent, r.cuts[i]); err != nil {
			return "", err
		}
		sent = r.cuts[i]
		r.marks[i] = pause()
	}
	r.figures.Messages = r.ledger.len()
	r.figures.SendRate = float64(r.figures.Messages) / time.Since(from).Seconds()
	return fmt.Sprintf("%d messages of %d tags over %d queues by the Apache Go client, %.0f/s", r.figures.Messages, len(tags), queues, r.figures.SendRate), nil
}
