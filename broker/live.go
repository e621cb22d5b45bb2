package broker

import (
	"fmt"

	"varve/internal/mq"
)

// Live is the settings that can be changed while the broker runs. They hold
// until the process ends: what a start uses is its Config.
type Live struct {
	AutoCreateTopics bool // a send to an unknown topic creates it
	AutoCreateGroups bool // a heartbeat of an unknown group creates it
	MaxBodyBytes     int  // body of one message or batch
	// ResetByClients has consumers that are connected reset their offsets
	// themselves, as clients older than 5.0 were told to.
	ResetByClients bool
}

func (c *Config) live() *Live {
	return &Live{AutoCreateTopics: c.AutoCreateTopics, AutoCreateGroups: c.AutoCreateGroups, MaxBodyBytes: c.MaxBodyBytes}
}

// Live gives the settings that can be changed, as they are now.
func (b *Broker) Live() Live { return *b.live.Load() }

// SetLive changes settings: ErrBadRequest where they can't be.
func (b *Broker) SetLive(l Live) error {
	if b.closed.Load() {
		return ErrClosed
	}
	if l.MaxBodyBytes < 1 || l.MaxBodyBytes > mq.MaxBodyLen {
		return fmt.Errorf("%w: max body of %d bytes, want 1 to %d", ErrBadRequest, l.MaxBodyBytes, mq.MaxBodyLen)
	}
	old := b.live.Swap(&l)
	if old.AutoCreateTopics != l.AutoCreateTopics {
		if err := b.seedTopics(); err != nil {
			b.live.Store(old)
			return storeError(err)
		}
	}
	b.logger.Info("settings changed until the process ends", "auto_create_topics", l.AutoCreateTopics,
		"auto_create_groups", l.AutoCreateGroups, "max_body", l.MaxBodyBytes, "reset_by_clients", l.ResetByClients)
	return nil
}
