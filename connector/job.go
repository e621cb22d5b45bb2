package connector

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"varve/hot"
	"varve/internal/archive"
	"varve/internal/mq"
)

// dispatch starts jobs for what waits, within the limits.
func (s *session) dispatch(ctx context.Context) {
	for len(s.waiting) > 0 && s.encoding < s.c.cfg.Encoders && s.jobs < s.c.cfg.Encoders+s.c.cfg.Uploads*uploadQueue {
		g := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		if g.dropped {
			g.q.topic.outstanding--
		}
		if g.q.topic.gone || g.dropped {
			s.unstage(g)
			continue
		}
		s.jobs++
		s.encoding++
		s.running.Go(func() { s.work(ctx, g) })
	}
}

func (s *session) tell(ctx context.Context, e event) {
	select {
	case s.events <- e:
	case <-ctx.Done():
	}
}

// work makes a segment's file and uploads it. The staged records are given
// back as soon as the file is written.
func (s *session) work(ctx context.Context, g *segment) {
	out, file, lost, err := s.write(ctx, g)
	s.tell(ctx, event{encoded: g})
	if err == nil && out != nil {
		defer out.remove()
		select {
		case s.uploads <- struct{}{}:
			defer func() { <-s.uploads }()
		case <-ctx.Done():
			return
		}
		err = s.upload(ctx, g, out, &file)
	}
	s.tell(ctx, event{uploaded: g, file: file, lost: lost, err: err})
}

// write makes a segment's file, up to a record that is lost if there is one; no
// file where that is the first.
func (s *session) write(ctx context.Context, g *segment) (out *output, file archive.DataFile, lost *hot.Lost, err error) {
	for to := g.to; to > g.from; to = lost.Offset {
		what := fmt.Sprintf("write offsets %d to %d of %v", g.from, to, g.q.id)
		err := s.c.persist(ctx, what, encodeTimeout, func(ctx context.Context) (err error) {
			out, file, err = s.encode(ctx, g, to)
			return err
		})
		var l lostError
		if !errors.As(err, &l) {
			return out, file, lost, err
		}
		lost = &l.Lost
	}
	return nil, archive.DataFile{}, lost, nil
}

// encode writes a segment's records below an offset to a file, in memory where
// there is room.
func (s *session) encode(ctx context.Context, g *segment, to int64) (out *output, file archive.DataFile, err error) {
	out = &output{dir: s.c.cfg.Dir, room: &s.room}
	defer func() {
		if err != nil {
			out.remove()
		}
	}()
	buf := bufio.NewWriterSize(out, int(min(max(g.bytes, minBlock), 256<<10)))
	columns, err := s.columns(ctx, g.q.topic)
	if err != nil {
		return out, file, err
	}
	w := archive.NewFileWriter(buf, g.q.id, archive.FileOptions{Epoch: s.epoch, Typed: columns})
	if g.shed {
		err = s.addFromLog(ctx, w, g, to)
	} else {
		err = addStaged(w, g)
	}
	if err != nil {
		return out, file, err
	}
	if file, err = w.Close(); err != nil {
		return out, file, err
	}
	if err = buf.Flush(); err != nil {
		return out, file, err
	}
	if want := (mq.Range{From: g.from, To: to}); file.Offsets != want {
		return out, file, fmt.Errorf("file holds %v, want %v", file.Offsets, want)
	}
	return out, file, nil
}

// addStaged writes the staged records from where they stand. Nothing checks
// their bytes again: they were under the log's checksum when they were read
// (hot.Tail), and since then they have been in this process's memory only.
func addStaged(w *archive.FileWriter, g *segment) error {
	for _, b := range g.blocks {
		if err := w.AddAll(b); err != nil {
			return err
		}
	}
	return nil
}

// addFromLog reads a segment once more, because it was shed.
func (s *session) addFromLog(ctx context.Context, w *archive.FileWriter, g *segment, to int64) error {
	for at := g.from; at < to; {
		if g.q.topic.over.Load() { // the log's queue is another by now, or will be
			return fmt.Errorf("topic %s was let go: %w", g.q.topic.name, mq.ErrNoQueue)
		}
		b, err := s.c.log.Read(ctx, g.q.id, at, mq.Limit{Bytes: rereadBytes, Messages: int(to - at), Scan: int(to - at)})
		if hot.Damaged(err) {
			return s.lostIn(g, at, err)
		}
		if err != nil {
			return err
		}
		if b.Next <= at {
			return fmt.Errorf("offset %d is not in the hot log: %w", at, mq.ErrTooHigh)
		}
		if err := w.AddAll(b.Body); err != nil {
			return err
		}
		at = b.Next
	}
	return nil
}

// upload puts the file into the bucket and makes sure that it is there. An
// attempt whose outcome is unknown is settled by looking.
func (s *session) upload(ctx context.Context, g *segment, out *output, file *archive.DataFile) error {
	what := fmt.Sprintf("upload offsets %d to %d of %v", g.from, g.to, g.q.id)
	limit := s.c.cfg.CallTimeout + time.Duration(out.length())*time.Second/slowestUpload
	return s.c.persist(ctx, what, limit, func(ctx context.Context) error {
		table, err := s.openTable(ctx, g.q.topic)
		if err != nil {
			return err
		}
		if file.Name == "" {
			file.Name = archive.FileName(g.q.id, table.Root(), g.from, file.Rows, s.epoch)
		}
		err = s.c.archive.Upload(ctx, *file, out, archive.UploadOptions{Tail: checkedTail})
		if errors.Is(err, archive.ErrNotStored) {
			file.Name = "" // whatever stands there: the next attempt takes a name of its own
		}
		return err
	})
}
