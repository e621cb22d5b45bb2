package audit

import (
	"context"
	"errors"
	"fmt"

	"varve/internal/archive"
	"varve/internal/mq"
	"varve/internal/proof"
)

// Bounds of what a report says of one file.
const (
	maxWrong = 20
	maxRuns  = 1000
)

// result is what reading a file gave.
type result struct {
	parts   proof.Parts
	upTo    proof.Parts // up to where an earlier report ended in it
	from    int64       // where the proof begins in it, for files put together of older ones
	rows    int64
	raw     int64
	erased  int64
	bare    bool       // the file has no hashes of its own
	bad     []mq.Range // runs of offsets whose hash in the file is another
	rowsBad []Row      // of the first of them
	wrong   []Row
	err     error // of the file, and where
	at      int64
	derived error // of what engines read beside the rows
	typed   typedResult
}

// readObject reads the files of an object, which is opened once.
func (t *tableAudit) readObject(ctx context.Context, files []archive.DataFile, note func(archive.DataFile, result)) error {
	var opened []*archive.File
	oerr := t.whole(ctx, files[0])
	if oerr == nil {
		opened, oerr = archive.OpenFiles(ctx, t.archive.Bucket(), files)
	}
	if oerr == nil {
		derr := t.derived(ctx, opened[0])
		if derr != nil && !gone(derr) {
			return derr
		}
		inner := note
		note = func(f archive.DataFile, res result) {
			if f.ID() == files[0].ID() {
				res.derived = derr
			}
			inner(f, res)
		}
	}
	for i, f := range files {
		var file *archive.File
		if oerr == nil {
			file = opened[i]
		}
		res, err := t.read(ctx, f, file, oerr)
		if err != nil {
			return err
		}
		note(f, res)
	}
	return nil
}

// read reads a file, which was opened or could not be, and compares it with
// itself. Its own error is of the bucket; what is wrong with the file is in the
// result.
func (t *tableAudit) read(ctx context.Context, f archive.DataFile, file *archive.File, err error) (result, error) {
	res := result{at: f.Offsets.From, from: f.Offsets.From}
	if s, err := proof.DecodeState([]byte(f.Proof)); err == nil {
		res.from = min(max(res.from, s.From), f.Offsets.To)
	}
	fail := func(err error) (result, error) {
		if err == nil || !gone(err) {
			return res, err
		}
		res.err = err
		return res, nil
	}
	if err != nil {
		return fail(err)
	}
	var b proof.Builder
	stop := t.since[f.Queue].Next
	bodies, err := t.typedAudit(ctx, file, &res)
	if err != nil {
		return fail(err)
	}
	defer bodies.close()
	err = file.Audit(ctx, func(row *archive.AuditedRow) error {
		res.at = row.Offset + 1
		if row.Offset == stop {
			res.upTo = b.Copy()
		}
		leaf := row.Leaf
		if row.Erased != nil {
			leaf = *row.Erased
			res.erased++
			t.checkErased(&res, f.Queue, row)
		}
		if row.Wrong != "" && len(res.wrong) < maxWrong {
			res.wrong = append(res.wrong, Row{row.Offset, row.MsgID(), row.Wrong})
		}
		if row.Offset >= res.from {
			b.Add(row.Offset, leaf)
		}
		res.rows++
		res.raw += int64(len(row.Record))
		return bodies.row(row)
	})
	if err != nil {
		return fail(err)
	}
	if stop == f.Offsets.To {
		res.upTo = b.Copy()
	}
	res.parts = b.Parts()
	own, err := file.Parts()
	if err != nil {
		return fail(err)
	}
	if len(own) == 0 {
		res.bare = true
		return res, nil
	}
	if res.from == f.Offsets.From {
		res.bad = differing(res.parts, own)
	}
	if len(res.bad) > 0 {
		res.rowsBad, err = rowsOf(ctx, file, res.bad[0])
	}
	return fail(err)
}

// whole compares an object's length with its entry's. Rows are read by the
// entry; engines look for a file's end at the object's, where another may be.
func (t *tableAudit) whole(ctx context.Context, f archive.DataFile) error {
	o, err := t.archive.Bucket().Head(ctx, f.Name)
	if err == nil && o.Size != f.ObjectBytes() {
		err = fmt.Errorf("%w: the object has %d bytes, the table says %d", archive.ErrDamaged, o.Size, f.ObjectBytes())
	}
	return err
}

// derived checks what engines read of an object beside the rows: the typed
// columns, which no leaf is made of, by their checksums (see typedAudit), and the bounds
// by which row groups are left out.
func (t *tableAudit) derived(ctx context.Context, file *archive.File) error {
	columns, err := file.TypedColumns()
	if err == nil {
		err = file.CheckBounds()
	}
	if err == nil && len(columns) > 0 {
		err = file.Check(ctx, archive.TypedColumns)
	}
	return err
}

// differing gives the offsets of the subtrees that two descriptions of the same
// messages disagree on.
func differing(rows, own proof.Parts) []mq.Range {
	type place struct {
		block int64
		level uint8
		index uint16
	}
	have := map[place]proof.Hash{}
	for _, p := range own {
		for _, tree := range p.Trees {
			have[place{p.Block, tree.Level, tree.Index}] = tree.Hash
		}
	}
	var out []mq.Range
	for _, p := range rows {
		for _, tree := range p.Trees {
			if h, ok := have[place{p.Block, tree.Level, tree.Index}]; (!ok || h != tree.Hash) && len(out) < maxRuns {
				from := p.Block<<proof.BlockLevel + int64(tree.Index)<<tree.Level
				out = append(out, mq.Range{From: from, To: from + 1<<tree.Level})
			}
		}
	}
	return out
}

// rowsOf names the messages of a run among which one differs: those alone whose
// body is not of its checksum where there are any, else all.
func rowsOf(ctx context.Context, file *archive.File, run mq.Range) (out []Row, err error) {
	var all []Row
	done := errors.New("behind the run")
	err = file.Audit(ctx, func(row *archive.AuditedRow) error {
		switch {
		case row.Offset >= run.To:
			return done
		case row.Offset < run.From:
			return nil
		}
		one := Row{Offset: row.Offset, MsgID: row.MsgID()}
		all = append(all, one)
		if row.Record.Check(true) != nil {
			one.Why = "its body is not of its checksum"
			out = append(out, one)
		}
		return nil
	})
	if err != nil && !errors.Is(err, done) {
		return nil, err
	}
	if len(out) == 0 {
		for i := range all {
			all[i].Why = fmt.Sprintf("it or another from offset %d to %d", run.From, run.To-1)
		}
		return all, nil
	}
	return out, nil
}
