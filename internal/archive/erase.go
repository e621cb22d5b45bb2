package archive

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"varve/internal/mq"
	"varve/internal/proof"
)

// PropErased is the property of an erased message: the erasure's id.
const PropErased = "VARVE_ERASED"

// rewritten is what a row brings along that its record doesn't say.
type rewritten struct {
	erased   []byte // leaf of the message before it was erased; nil if it was not
	encoding []byte
}

// Erase writes the file anew without the bodies, keys and properties of some
// messages; their unique ids stay, and their headers. It gives the new file,
// without a name, and what was erased. A message that was erased before stays as
// it is.
func (f *File) Erase(ctx context.Context, out io.Writer, o FileOptions, id string, erase func(offset int64) bool) (DataFile, []proof.ErasedRow, error) {
	fail := func(err error) (DataFile, []proof.ErasedRow, error) {
		return DataFile{}, nil, fmt.Errorf("erase in %s: %w", f.data.Name, err)
	}
	q := f.data.Queue
	w := NewFileWriter(out, q, o)
	var rows []proof.ErasedRow
	err := f.Audit(ctx, func(row *AuditedRow) error {
		if row.Wrong != "" {
			return damaged(f.data.Name, "offset %d: %s", row.Offset, row.Wrong)
		}
		again := rewritten{encoding: bytes.Clone(row.encoding)}
		r := row.Record
		switch {
		case row.Erased != nil:
			again.erased = bytes.Clone(row.Erased[:])
		case erase(row.Offset):
			left, err := strip(r, id)
			if err != nil {
				return err
			}
			var h proof.Hasher
			after := h.Leaf(left.Parts())
			rows = append(rows, proof.ErasedRow{
				Broker: q.Broker, Queue: q.ID, Offset: row.Offset, MsgID: row.MsgID(),
				Leaf: hex.EncodeToString(row.Leaf[:]), Left: hex.EncodeToString(after[:]),
			})
			r, again = left, rewritten{erased: bytes.Clone(row.Leaf[:])}
		}
		w.again = again
		return w.Add(r)
	})
	w.again = rewritten{}
	if err != nil {
		w.Abort()
		return fail(err)
	}
	made, err := w.Close()
	if err != nil {
		return fail(err)
	}
	return made, rows, nil
}

// strip gives what stays of an erased message: its header and its unique id.
func strip(r mq.Record, id string) (mq.Record, error) {
	m, err := r.Decode()
	if err != nil {
		return nil, err
	}
	unique := m.Property(mq.PropUniqKey)
	m.Body, m.Properties = nil, nil
	m.SysFlag &^= mq.SysCompressed | mq.SysCompressionMask
	if unique != "" {
		m.Properties = mq.AppendProperty(m.Properties, mq.PropUniqKey, unique)
	}
	m.Properties = mq.AppendProperty(m.Properties, PropErased, id)
	return mq.AppendRecord(nil, &m), nil
}
