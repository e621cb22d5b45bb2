package connector

import (
	"context"
	"errors"
	"log/slog"

	"varve/internal/archive"
	"varve/internal/typed"
)

// columns gives the typed columns of a file that is about to be written, nil
// for none, and sees to it that the table has them first. A table whose columns
// can't become those of the schema gets files without: the bodies are in them
// all the same.
func (s *session) columns(ctx context.Context, t *topic) (*typed.Layout, error) {
	if s.c.cfg.Schemas == nil {
		return nil, nil
	}
	l := s.c.cfg.Schemas.Layout(t.name)
	if l == nil || t.refused.Load() == l {
		return nil, nil
	}
	table, err := s.openTable(ctx, t)
	if err == nil {
		err = table.Evolve(ctx, l)
	}
	if errors.Is(err, archive.ErrSchema) {
		t.refused.Store(l)
		s.c.failed(err)
		s.c.cfg.Logger.Error("archived without the columns of the schema", slog.String("topic", t.name),
			slog.Int("version", l.Version), slog.Any("err", err))
		return nil, nil
	}
	return l, err
}
