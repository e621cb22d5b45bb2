package app

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"varve/broker"
	"varve/internal/admin"
	"varve/internal/mq"
)

// transactionAPI implements admin.Transactions.
type transactionAPI struct{ n *Node }

func (a transactionAPI) Transactions(_ context.Context, s admin.TransactionSearch) ([]admin.Transaction, error) {
	list, err := a.n.broker.Transactions(broker.TransactionQuery(s))
	if err != nil {
		return nil, brokerError(err)
	}
	out := make([]admin.Transaction, 0, len(list))
	for i := range list {
		h := &list[i]
		m, err := shown(a.n.cfg.Broker.Name, h.Record)
		if err != nil {
			return nil, err
		}
		t := admin.Transaction{
			ID: h.OffsetMsgID, Physical: h.Physical, Topic: h.Topic, Queue: h.QueueID, Group: h.Group, MsgID: h.MsgID,
			Stored: millis(h.StoreTimeMillis), Checks: h.Checks, GivenUp: h.GivenUp, Message: m,
		}
		if h.LastCheckMillis > 0 {
			t.LastCheck = millis(h.LastCheckMillis)
		}
		if h.NextCheckMillis > 0 && !h.GivenUp {
			t.NextCheck = millis(h.NextCheckMillis)
		}
		out = append(out, t)
	}
	return out, nil
}

func (a transactionAPI) ResolveTransaction(ctx context.Context, id, resolution string) error {
	_, physical, err := mq.ParseOffsetMsgID(id)
	if err != nil {
		if physical, err = strconv.ParseInt(id, 10, 64); err != nil {
			return admin.BadRequest("id: %q is neither an offset message id nor a physical offset", id)
		}
	}
	switch resolution {
	case "commit":
		err = a.n.broker.ResolveTransaction(ctx, physical, broker.TransactionCommit)
	case "rollback":
		err = a.n.broker.ResolveTransaction(ctx, physical, broker.TransactionRollback)
	case "restore":
		err = a.n.broker.RestoreTransaction(ctx, physical)
	default:
		return admin.BadRequest("resolution: %q is none of %s", resolution, strings.Join(slices.Clone(admin.Resolutions), ", "))
	}
	return brokerError(err)
}
