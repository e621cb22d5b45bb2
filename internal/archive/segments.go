package archive

import (
	"context"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"
)

// How ranges of one file are fetched.
const (
	coalesceGap      = 128 << 10 // ranges nearer than this become one request
	maxRequestBytes  = 8 << 20
	fetchConcurrency = 8
)

// span is a byte range of an object.
type span struct{ from, to int64 }

// coalesce joins near spans, and cuts none: a single page may be larger than
// maxRequestBytes. It reorders its argument.
func coalesce(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return int(min(max(a.from-b.from, -1), 1)) })
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && s.from <= out[n-1].to+coalesceGap &&
			(max(s.to, out[n-1].to)-out[n-1].from <= maxRequestBytes || s.from < out[n-1].to) {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}

// segments is the fetched part of one object, as an io.ReaderAt for the
// Parquet decoder. A read outside of it goes to the object: correct, but one
// request each, so plans should leave none.
type segments struct {
	ctx       context.Context // of the call that decodes; set by its owner
	rr        RangeReader
	name      string
	size      int64
	parts     []segment
	pace      func() // called before a page is decoded; may be nil
	unplanned int    // reads that the plan missed
	failed    error  // of the last unplanned read
	// reuse says that fetched bytes are not needed once another fetch begins;
	// spare is their memory then.
	reuse bool
	spare [][]byte
}

type segment struct {
	from int64
	data []byte
}

// ReadAt implements io.ReaderAt. It may give fewer bytes than asked, at a
// segment's end, without an error.
func (s *segments) ReadAt(p []byte, off int64) (int, error) {
	for _, g := range s.parts {
		if off >= g.from && off < g.from+int64(len(g.data)) {
			return copy(p, g.data[off-g.from:]), nil
		}
	}
	if off >= s.size {
		return 0, io.EOF
	}
	s.unplanned++
	p = p[:min(int64(len(p)), s.size-off)]
	if s.failed = s.rr.ReadAt(s.ctx, s.name, p, off); s.failed != nil {
		return 0, s.failed
	}
	return len(p), nil
}

// view gives bytes of the object without a copy where they were fetched. They
// live until the next fetch.
func (s *segments) view(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > s.size || n > s.size-off {
		return nil, fmt.Errorf("bytes %d to %d of %d: %w", off, off+n, s.size, io.ErrUnexpectedEOF)
	}
	for _, g := range s.parts {
		if off >= g.from && off+n <= g.from+int64(len(g.data)) {
			at := off - g.from
			return g.data[at : at+n : at+n], nil
		}
	}
	p := make([]byte, n)
	_, err := io.ReadFull(io.NewSectionReader(s, off, n), p)
	return p, err
}

// fetch replaces the segments by those of the spans. What an old segment
// already holds whole is kept.
func (s *segments) fetch(ctx context.Context, spans []span) error {
	old := s.parts
	s.ctx, s.parts, s.failed = ctx, nil, nil
	if s.reuse {
		s.parts = old
		s.drop()
		old = nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchConcurrency)
	for _, sp := range coalesce(spans) {
		if i := slices.IndexFunc(old, func(o segment) bool {
			return o.from <= sp.from && sp.to <= o.from+int64(len(o.data))
		}); i >= 0 {
			s.parts = append(s.parts, old[i])
			continue
		}
		data := s.room(int(sp.to - sp.from))
		s.parts = append(s.parts, segment{sp.from, data})
		g.Go(func() error {
			if err := s.rr.ReadAt(gctx, s.name, data, sp.from); err != nil {
				return fmt.Errorf("read bytes %d to %d of %s: %w", sp.from, sp.to, s.name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		s.parts = nil
		return err
	}
	return nil
}

// room is memory for a segment.
func (s *segments) room(n int) []byte {
	for i, b := range s.spare {
		if cap(b) >= n {
			s.spare = slices.Delete(s.spare, i, i+1)
			return b[:n]
		}
	}
	return make([]byte, n)
}

// drop lets go of what was fetched.
func (s *segments) drop() {
	if s.reuse && len(s.parts) > 0 {
		s.spare = s.spare[:0] // those were too small
		for _, p := range s.parts {
			s.spare = append(s.spare, p.data)
		}
	}
	s.parts = nil
}

func (s *segments) bytes() int64 {
	var n int64
	for _, g := range s.parts {
		n += int64(len(g.data))
	}
	return n
}
