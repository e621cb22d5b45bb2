package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/iceberg-go/table"

	"varve/internal/mq"
)

var (
	// ErrLeased says that a tag or branch keeps a snapshot that has the rows to be
	// erased, where engines would go on reading them.
	ErrLeased = errors.New("a kept snapshot has it")
	// ErrErasedSince says that a snapshot has rows that were erased after it.
	ErrErasedSince = errors.New("messages of the snapshot were erased since")
)

// Leased is ErrLeased where a tag or a branch keeps a snapshot with one of the
// rows, by queue and offset, as of the newest version known.
func (t *Table) Leased(ctx context.Context, rows map[mq.Queue][]int64) error {
	if err := t.turn.take(ctx, t.archive.away); err != nil {
		return fmt.Errorf("what keeps snapshots of %s: %w", t.root, err)
	}
	defer t.turn.leave()
	return t.leased(ctx, t.current(), rows)
}

func (t *Table) leased(ctx context.Context, st *state, rows map[mq.Queue][]int64) error {
	for name, ref := range st.meta.Refs() {
		if name == table.MainBranch {
			continue
		}
		what := "tag or branch " + name
		if own, ok := strings.CutPrefix(name, tagPrefix); ok {
			what = fmt.Sprintf("lease %q (varve lease release %s)", own, own)
		}
		files, err := t.filesIn(ctx, st, ref.SnapshotID)
		if err != nil {
			return fmt.Errorf("files of snapshot %d, which %s keeps: %w", ref.SnapshotID, what, err)
		}
		for _, f := range files {
			for _, o := range rows[f.Queue] {
				if f.Offsets.Contains(o) {
					return fmt.Errorf("%w: offset %d of %v is in snapshot %d, which %s keeps", ErrLeased, o, f.Queue, ref.SnapshotID, what)
				}
			}
		}
	}
	return nil
}

// erasedSince reports whether rows were erased after a snapshot.
func (s *state) erasedSince(snapshot int64) bool {
	of := s.meta.SnapshotByID(snapshot)
	return slices.ContainsFunc(s.meta.Snapshots(), func(x table.Snapshot) bool {
		return x.Summary != nil && x.Summary.Operation == table.OpOverwrite && x.SequenceNumber > of.SequenceNumber
	})
}
