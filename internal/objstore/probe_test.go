package objstore_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"varve/internal/objstore"
	"varve/internal/objstore/mem"
)

// denying is a bucket that refuses to delete, or to list.
type denying struct {
	objstore.Bucket
	deletes, lists bool
}

func (d denying) Delete(ctx context.Context, name string) error {
	if d.deletes {
		return objstore.ErrDenied
	}
	return d.Bucket.Delete(ctx, name)
}

func (d denying) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	if d.lists {
		return func(yield func(objstore.Object, error) bool) { yield(objstore.Object{}, objstore.ErrDenied) }
	}
	return d.Bucket.List(ctx, prefix)
}

// TestProbeFindsWhatMayNotBeDone: a bucket that may be written and not be deleted
// from, or not be listed, is told at the start and not by the first sweep.
func TestProbeFindsWhatMayNotBeDone(t *testing.T) {
	for _, b := range []denying{{mem.New(), true, false}, {mem.New(), false, true}} {
		if err := objstore.Probe(t.Context(), b); !errors.Is(err, objstore.ErrDenied) {
			t.Errorf("deletes refused %v, lists refused %v: %v", b.deletes, b.lists, err)
		}
	}
	if err := objstore.Probe(t.Context(), denying{Bucket: mem.New()}); err != nil {
		t.Error(err)
	}
}
