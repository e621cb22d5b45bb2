package broker

import (
	"context"
	"errors"
	"fmt"

	"varve/internal/mq"
)

// maxFound bounds the messages of one QueryByKey.
const maxFound = 1024

// ViewMessage finds a message by its physical offset: ErrNoMessage. It may read
// the archive.
func (b *Broker) ViewMessage(ctx context.Context, physicalOffset int64) (mq.Record, error) {
	rec, err := b.finder.FindPhysical(ctx, b.cfg.Broker, physicalOffset)
	switch {
	case errors.Is(err, mq.ErrNotFound):
		return nil, fmt.Errorf("%w: at physical offset %d", ErrNoMessage, physicalOffset)
	case err != nil:
		return nil, fmt.Errorf("message at physical offset %d: %w", physicalOffset, err)
	}
	return rec, nil
}

// QueryByKey finds the messages of a topic with a key, newest first. None is
// an empty batch. It may read the archive.
func (b *Broker) QueryByKey(ctx context.Context, k mq.KeyQuery) (mq.Batch, error) {
	if k.Topic == "" || k.Key == "" {
		return mq.Batch{}, fmt.Errorf("%w: a search needs a topic and a key, got %q and %q", ErrBadRequest, k.Topic, k.Key)
	}
	if k.Max <= 0 || k.Max > maxFound {
		k.Max = maxFound
	}
	batch, err := b.finder.FindKey(ctx, k)
	if err != nil {
		return mq.Batch{}, fmt.Errorf("find key %q in topic %q: %w", k.Key, k.Topic, err)
	}
	return batch, nil
}
