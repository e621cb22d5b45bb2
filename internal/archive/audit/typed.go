package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"varve/internal/archive"
)

// typedResult is what comparing a file's typed columns with its bodies gave.
type typedResult struct {
	version  int    // of the schema, 0 where the file has no typed columns
	skipped  string // why they were not compared, "" where they were
	wrong    []Row  // the first of those that differ
	differed int64  // how many differ
}

// typedRows compares the rows of a file; nil compares nothing.
type typedRows struct {
	audit *archive.TypedAudit
	res   *result
}

// typedAudit makes what compares a file's typed columns with its bodies, nil
// where it has none, or they can't be compared.
func (t *tableAudit) typedAudit(ctx context.Context, file *archive.File, res *result) (*typedRows, error) {
	f := file.DataFile()
	version, err := file.SchemaVersion()
	if err != nil || version == 0 {
		return nil, err
	}
	res.typed.version = version
	if t.o.NotTyped {
		res.typed.skipped = "it was not asked for"
		return nil, nil
	}
	if t.o.Layouts == nil {
		res.typed.skipped = "the topic's schemas are not known"
		return nil, nil
	}
	l, err := t.o.Layouts(ctx, f.Queue.Broker, t.topic, version)
	if err != nil {
		res.typed.skipped = err.Error()
		return nil, ctx.Err()
	}
	a, err := file.NewTypedAudit(ctx, l, func(offset int64, id, why string) {
		if res.typed.differed++; len(res.typed.wrong) < maxWrong {
			res.typed.wrong = append(res.typed.wrong, Row{offset, id, why})
		}
	})
	switch {
	case errors.Is(err, archive.ErrOtherColumns):
		res.typed.differed, res.typed.wrong = f.Rows, []Row{{Offset: f.Offsets.From, Why: err.Error()}}
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &typedRows{a, res}, nil
}

func (r *typedRows) row(row *archive.AuditedRow) error {
	if r == nil {
		return nil
	}
	return r.audit.Row(row)
}

func (r *typedRows) close() {
	if r != nil {
		r.audit.Close()
	}
}

// typedDoubt tells of rows of a file whose columns are not what their bodies give.
func (t *tableAudit) typedDoubt(f archive.DataFile, res typedResult) {
	if res.differed > 0 {
		t.doubtQueue(f.Queue, Doubt{
			File: f.Name, From: f.Offsets.From, To: f.Offsets.To, Rows: res.wrong,
			What: fmt.Sprintf("the columns made of bodies are not what the bodies give, in %d messages", res.differed),
		})
	}
}

// typedSkipped lists the versions of the schema whose columns were not compared.
func (t *tableAudit) typedSkipped() {
	type group struct {
		broker  string
		version int
		why     string
	}
	rows := map[group]int64{}
	for n, res := range t.results {
		if res.typed.skipped != "" {
			rows[group{t.l.Files[n].Queue.Broker, res.typed.version, res.typed.skipped}] += t.l.Files[n].Rows
		}
	}
	keys := slices.SortedFunc(maps.Keys(rows), func(a, b group) int {
		return cmp.Or(cmp.Compare(a.broker, b.broker), cmp.Compare(a.version, b.version), cmp.Compare(a.why, b.why))
	})
	for _, g := range keys {
		t.skip(NotCovered{Broker: g.broker, Why: fmt.Sprintf("whether the columns made of bodies say what the bodies do, beyond their checksums, of %d messages by version %d of the schema: %s", rows[g], g.version, g.why)})
	}
}
