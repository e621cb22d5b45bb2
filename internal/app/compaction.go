package app

import (
	"context"
	"errors"
	"fmt"

	"varve/connector"
	"varve/connector/compact"
	"varve/internal/admin"
	"varve/internal/archive"
	"varve/internal/config"
	"varve/internal/mq"
)

// Compaction waits while the connector is behind by more than these.
const (
	busyBytes = 256 << 20
	busyAges  = 3 // times the longest age of an open file
	// compactionRoom is what a merge may take of the disk, beyond what sends need.
	compactionRoom = 3 // times the largest merged file
)

// openCompaction makes what merges this broker group's small files.
func (n *Node) openCompaction(context.Context) error {
	if !n.cfg.Has(config.RoleConnector) {
		return nil
	}
	c := n.cfg.Compaction
	bandwidth := int64(c.Bandwidth)
	if bandwidth == 0 {
		bandwidth = -1
	}
	var err error
	n.compactor, err = compact.New(compact.Config{
		Broker: n.cfg.Broker.Name, Dir: n.dir.path("tmp", "compaction"), Every: c.Interval,
		Rules: compact.Rules{
			FullBytes: int64(c.FullBytes), MaxBytes: 2 * int64(c.FullBytes), Span: c.Span, Settle: max(c.Settle, 1), ShareAfter: max(c.ShareAfter, 1),
		},
		BytesPerSecond: bandwidth, CPU: float64(c.CPU) / 100, Busy: n.compactionBusy, Logger: n.log,
		Together: func(queues []mq.Queue) bool { return n.rules != nil && n.rules.Policy().Together(queues) },
	}, n.archive)
	if err != nil {
		return fmt.Errorf("start the compaction: %w", err)
	}
	if c.Enabled {
		n.onRun("compaction", func(ctx context.Context) error {
			if !n.reach.wait(ctx) {
				return nil
			}
			return n.compactor.Run(ctx)
		})
	}
	return nil
}

// compactionBusy says why nothing may be merged now, "" where it may.
func (n *Node) compactionBusy() string {
	c := n.cfg.Connector
	st := n.connector.Status()
	switch {
	case st.State != connector.Running:
		return fmt.Sprintf("the connector is %s", st.State)
	case st.LagBytes > busyBytes:
		return fmt.Sprintf("the connector is %d bytes behind", st.LagBytes)
	case st.LagAge > busyAges*max(c.RollAge, c.RollAgeMax):
		return fmt.Sprintf("the connector is %s behind", st.LagAge)
	}
	need := int64(n.cfg.Hot.MinFree) + compactionRoom*2*int64(n.cfg.Compaction.FullBytes)
	if free := n.store.Stats().FreeBytes; free < need {
		return fmt.Sprintf("%d bytes of the disk are free, it takes %d", free, need)
	}
	return ""
}

// Compact merges now what could become fewer files.
func (a archiveAPI) Compact(ctx context.Context, topic string) (admin.Compacted, error) {
	st, err := a.n.compactor.Compact(ctx, topic)
	switch {
	case errors.Is(err, archive.ErrNoTable):
		return admin.Compacted{}, admin.NotFound("topic %q has nothing in the archive", topic)
	case errors.Is(err, compact.ErrPaused):
		return admin.Compacted{}, admin.Unavailable("%v", err)
	case err != nil:
		return admin.Compacted{}, coldError(err)
	}
	return admin.Compacted{Merges: st.Merges, Files: st.FilesIn, BytesIn: st.BytesIn, BytesOut: st.BytesOut}, nil
}

// compaction is the state as the API gives it.
func (n *Node) compaction() *admin.ArchiveCompaction {
	st := n.compactor.Status()
	out := &admin.ArchiveCompaction{
		Enabled: n.cfg.Compaction.Enabled, Running: st.Running, Paused: st.Paused, Error: st.Error, ErrorAt: st.ErrorAt,
		Merges: st.Merges, Files: st.FilesIn, BytesIn: st.BytesIn, BytesOut: st.BytesOut, Left: st.Left,
	}
	return out
}
