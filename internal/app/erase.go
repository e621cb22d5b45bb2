package app

import (
	"context"
	"errors"

	"varve/history"
	"varve/internal/admin"
	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/proof"
)

// openEraser makes what erases messages of this broker group. It is where the
// group's log is: nobody else knows what is still hot.
func (n *Node) openEraser() {
	n.eraser = history.NewEraser(history.EraseConfig{
		Dir: n.dir.path("tmp", "connector"), Key: n.proofKey, Layout: n.schemas.Layout, Guarded: n.holds.Guarded, Logger: n.log,
		Scrub: n.store.Scrub,
		Hot: func(ctx context.Context, q mq.Queue) (mq.Range, bool) {
			if q.Broker != n.cfg.Broker.Name {
				return mq.Range{}, false
			}
			r, err := n.store.Range(ctx, q)
			if errors.Is(err, mq.ErrNoQueue) { // nothing of it is there any more
				return mq.Range{From: 1 << 62, To: 1 << 62}, true
			}
			return r, err == nil
		},
		HotKey: func(ctx context.Context, k mq.KeyQuery) (bool, error) {
			b, err := n.store.FindKey(ctx, k)
			if errors.Is(err, mq.ErrNotFound) || errors.Is(err, mq.ErrNoQueue) {
				return false, nil
			}
			return b.Count > 0, err
		},
	}, n.history)
}

func eraseError(err error, topic string) error {
	switch {
	case errors.Is(err, history.ErrNothingToErase):
		return admin.NotFound("%v", err)
	case errors.Is(err, history.ErrStillHot), errors.Is(err, history.ErrHeld), errors.Is(err, archive.ErrLeased):
		return admin.Conflict("%v", err)
	case errors.Is(err, archive.ErrDamaged):
		return admin.Conflict("%v; see varve archive verify", err)
	}
	return tableError(err, topic)
}

// Erase erases messages.
func (a archiveAPI) Erase(ctx context.Context, topic string, e admin.Erase) (*proof.Certificate, error) {
	r := history.EraseRequest{Topic: topic, Key: e.Key, MsgID: e.MsgID, Who: e.Who, Why: e.Why}
	ways := 0
	for _, given := range []bool{e.Key != "", e.MsgID != "", e.Queue != nil && e.Offset != nil} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return nil, admin.BadRequest("an erasure is of a key, a message id, or a queue and an offset: one of them")
	case e.Why == "" || e.Who == "":
		return nil, admin.BadRequest("an erasure needs who asks for it and why, for its certificate")
	case e.Queue != nil && e.Offset != nil:
		r.Queue, r.Offset = mq.Queue{Broker: a.n.cfg.Broker.Name, Topic: topic, ID: *e.Queue}, *e.Offset
	}
	c, err := a.n.eraser.Erase(ctx, r)
	return c, eraseError(err, topic)
}

// Erasures gives the certificates of a topic, and how many of the files before
// them are still in the bucket.
func (a archiveAPI) Erasures(ctx context.Context, topic string) ([]admin.Erasure, error) {
	list, err := a.n.eraser.Erasures(ctx, topic)
	out := make([]admin.Erasure, 0, len(list))
	for i := range list {
		left, lerr := a.n.eraser.Left(ctx, &list[i])
		if lerr != nil {
			return nil, tableError(lerr, topic)
		}
		out = append(out, admin.Erasure{Certificate: list[i], OldFiles: len(left)})
	}
	return out, tableError(err, topic)
}
