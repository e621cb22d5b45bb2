package broker

import (
	"errors"
	"fmt"

	"varve/broker/quota"
)

// Quota is what one tenant may.
type Quota = quota.Limits

// PutQuota sets a tenant's limits; those of quota.Everyone ("*") count for
// every tenant without its own.
func (b *Broker) PutQuota(q Quota) error {
	if err := b.quotas.Put(q); err != nil {
		if e := storeError(err); errors.Is(e, ErrDiskFull) {
			return e
		}
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	b.logger.Info("quota set", "tenant", q.Tenant)
	return nil
}

// DeleteQuota removes a tenant's limits; had is false where there were none.
func (b *Broker) DeleteQuota(tenant string) (had bool, err error) {
	had, err = b.quotas.Delete(tenant)
	if err != nil {
		return false, storeError(err)
	}
	return had, nil
}

// Quotas gives every tenant's limits.
func (b *Broker) Quotas() []Quota { return b.quotas.All() }

// QuotaRefusal is how often a tenant was refused something for its quota.
type QuotaRefusal = quota.Refusal

// QuotaRefusals gives how often tenants were over their quotas since the start.
func (b *Broker) QuotaRefusals() []QuotaRefusal { return b.quotas.Refused() }

// MayRead says whether a topic's tenant may read now, for who reads elsewhere
// what this broker stored: ErrOverQuota.
func (b *Broker) MayRead(topic string) error { return overQuota(b.quotas.MayRead(topic)) }

// NoteRead counts what was read elsewhere.
func (b *Broker) NoteRead(topic string, messages int, bytes int64) {
	b.quotas.Read(topic, messages, bytes)
}

// Use counts a connection, by any comparable value that stands for it, for the
// tenant of a topic or group that it is used for: ErrOverQuota where the tenant
// has too many. Unuse forgets it, and nothing is used by it after that.
func (b *Broker) Use(conn any, name string) error { return overQuota(b.quotas.Join(conn, name)) }

// Unuse forgets a connection that has ended.
func (b *Broker) Unuse(conn any) { b.quotas.Leave(conn) }

// mayStore takes what is to be stored from its tenant's quota: bodies and
// properties.
func (b *Broker) mayStore(topic string, s *sending) error {
	if !b.quotas.On() {
		return nil
	}
	bytes := s.bytes
	for _, m := range s.msgs {
		bytes += int64(len(m.Properties))
	}
	return b.quotas.Send(topic, len(s.msgs), bytes)
}

// overQuota gives an error of a quota the name that fronts know.
func overQuota(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrOverQuota, err)
}

// paid has a pop's messages count as read, where there is a quota.
func (b *Broker) paid(topic string, done func(PopResult, error)) func(PopResult, error) {
	if !b.quotas.On() {
		return done
	}
	return func(r PopResult, err error) {
		bytes := 0
		for i := range r.Messages {
			bytes += len(r.Messages[i].Record)
		}
		b.quotas.Read(topic, len(r.Messages), int64(bytes))
		done(r, err)
	}
}
