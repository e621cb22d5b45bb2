package app

import (
	"context"

	"varve/broker"
	"varve/internal/admin"
)

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
