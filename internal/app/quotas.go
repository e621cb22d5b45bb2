package app

import (
	"context"

	"varve/broker"
	"varve/broker/quota"
	"varve/internal/admin"
)

// readQuotas are the quotas of a history node in a process of its own: it has
// rules of its own, as it has users, and counts what is read there.
type readQuotas struct{ *quota.Table }

// NoteRead implements history.Quotas.
func (q readQuotas) NoteRead(topic string, messages int, bytes int64) { q.Read(topic, messages, bytes) }

// readQuotaAPI implements admin.Quotas for such a node.
type readQuotaAPI struct{ q readQuotas }

func (a readQuotaAPI) Quotas(context.Context) ([]admin.Quota, error) {
	out := []admin.Quota{}
	for _, l := range a.q.All() {
		out = append(out, admin.Quota(l))
	}
	return out, nil
}

func (a readQuotaAPI) SetQuota(_ context.Context, q admin.Quota) error {
	if q.SendMessages != 0 || q.SendBytes != 0 || q.Connections != 0 {
		return admin.BadRequest("this process has the history role alone and bounds reads only: set send_messages, send_bytes and connections at the broker")
	}
	if err := a.q.Put(quota.Limits(q)); err != nil {
		return admin.BadRequest("%v", err)
	}
	return nil
}

func (a readQuotaAPI) DeleteQuota(_ context.Context, tenant string) error {
	had, err := a.q.Delete(tenant)
	if err == nil && !had {
		return admin.NotFound("tenant %q has no quota", tenant)
	}
	return err
}

// quotaAPI implements admin.Quotas.
type quotaAPI struct{ n *Node }

func (a quotaAPI) Quotas(context.Context) ([]admin.Quota, error) {
	out := []admin.Quota{}
	for _, q := range a.n.broker.Quotas() {
		out = append(out, admin.Quota(q))
	}
	return out, nil
}

func (a quotaAPI) SetQuota(_ context.Context, q admin.Quota) error {
	return brokerError(a.n.broker.PutQuota(broker.Quota(q)))
}

func (a quotaAPI) DeleteQuota(_ context.Context, tenant string) error {
	had, err := a.n.broker.DeleteQuota(tenant)
	if err == nil && !had {
		return admin.NotFound("tenant %q has no quota", tenant)
	}
	return brokerError(err)
}
