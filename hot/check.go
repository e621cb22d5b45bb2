package hot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot/index"
	"varve/hot/segment"
	"varve/internal/mq"
)

// CheckedSegment is what Check found in one segment file.
type CheckedSegment struct {
	File                    string
	Base, End               int64 // positions; End is where the last good batch ends
	Batches, Records, Bytes int64
	FirstMillis, LastMillis int64 // store times; 0 where there is no record
	FirstEpoch, LastEpoch   uint64
	Keys                    int64  // entries in the key index
	Problem                 string // "" if every byte that should be data is
	Tail                    string // of the last segment: why the log ends there
}

// Check reads every batch and every key block of the log in dir, verifies the
// checksums and calls report for each segment. It changes nothing and takes no
// lock: beside a running broker it may find that the log's end moves. The
// error is about the directory; damage is in the reports.
func Check(ctx context.Context, fs vfs.FS, dir string, report func(CheckedSegment)) error {
	if fs == nil {
		fs = vfs.Default
	}
	if _, err := fs.Stat(fs.PathJoin(dir, formatFile)); err != nil {
		return fmt.Errorf("checking the log in %s: %w", dir, err)
	}
	if _, err := checkFormat(fs, dir); err != nil {
		return fmt.Errorf("checking the log in %s: %w", dir, err)
	}
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("listing %s: %w", dir, err)
	}
	var bases []int64
	for _, name := range names {
		if base, ok := parseSegmentName(name, logSuffix); ok {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	k := &checker{fs: fs, dir: dir}
	for i, base := range bases {
		end := int64(math.MaxInt64)
		if i+1 < len(bases) {
			end = k.prevEnd(bases[i+1])
		}
		c, err := k.segment(ctx, base, end)
		if err != nil {
			return fmt.Errorf("checking %s: %w", c.File, err)
		}
		report(c)
	}
	return nil
}

type checker struct {
	fs       vfs.FS
	dir      string
	epoch    uint64
	lastTime int64
}

func (k *checker) path(base int64, suffix string) string {
	return k.fs.PathJoin(k.dir, segmentName(base, suffix))
}

// prevEnd is where the segment before the one with the given base ended, the
// base itself if the header does not say.
func (k *checker) prevEnd(base int64) int64 {
	f, err := k.fs.Open(k.path(base, logSuffix))
	if err != nil {
		return base
	}
	defer f.Close()
	if h, err := readHeader(&seg{f: f}); err == nil {
		return h.PrevEnd
	}
	return base
}

func (k *checker) segment(ctx context.Context, base, end int64) (CheckedSegment, error) {
	c := CheckedSegment{File: k.path(base, logSuffix), Base: base, End: base}
	f, err := k.fs.Open(c.File, vfs.SequentialReadsOption)
	if err != nil {
		return c, err
	}
	defer f.Close()
	h, err := readHeader(&seg{f: f})
	switch {
	case err != nil:
		c.Problem = err.Error()
		return c, nil
	case h.Base != base:
		c.Problem = fmt.Sprintf("the header says base %d", h.Base)
		return c, nil
	case h.Epoch < k.epoch:
		c.Problem = fmt.Sprintf("epoch %d after %d", h.Epoch, k.epoch)
		return c, nil
	}
	k.epoch = h.Epoch
	if err := k.scan(ctx, &c, segment.NewScanner(f, base, base+segment.HeaderLen, end, h.Epoch), end); err != nil {
		return c, err
	}
	keys, covered, err := index.CheckKeyFile(k.fs, k.path(base, keySuffix), base)
	c.Keys = keys
	switch {
	case isNotExist(err): // Open builds it again
	case err != nil:
		return c, err
	case covered > c.End && c.Problem == "":
		c.Problem = fmt.Sprintf("keys are filed up to position %d, the data ends at %d", covered, c.End)
	}
	return c, nil
}

func (k *checker) scan(ctx context.Context, c *CheckedSegment, sc *segment.Scanner, end int64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := sc.Next()
		c.End, k.epoch = sc.Pos(), sc.Epoch()
		switch {
		case err == nil:
			k.count(c, b)
			continue
		case !errors.Is(err, io.EOF) && !errors.Is(err, segment.ErrInvalid):
			return err
		case end == math.MaxInt64:
			c.Tail = err.Error()
		case c.End != end:
			c.Problem = fmt.Sprintf("position %d: %v; the next segment begins at %d", c.End, err, end)
		}
		return nil
	}
}

func (k *checker) count(c *CheckedSegment, b segment.Batch) {
	c.Batches++
	c.Bytes += int64(b.Len)
	c.LastEpoch = b.Epoch
	if c.FirstEpoch == 0 {
		c.FirstEpoch = b.Epoch
	}
	for r := range mq.Records(b.Records) {
		c.Records++
		at := r.StoreTimeMillis()
		if at < k.lastTime && c.Problem == "" {
			c.Problem = fmt.Sprintf("position %d: store time %d after %d", r.PhysicalOffset(), at, k.lastTime)
		}
		if err := r.Check(true); err != nil && c.Problem == "" {
			c.Problem = fmt.Sprintf("position %d: %v", r.PhysicalOffset(), err)
		}
		k.lastTime = max(k.lastTime, at)
		if c.FirstMillis == 0 {
			c.FirstMillis = at
		}
		c.LastMillis = at
	}
}
