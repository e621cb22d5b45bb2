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
const PropErased = mq.PropErased

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
	w := NewFileWriter(out, f.data.Queue, o)
	rows, err := f.eraseInto(ctx, w, id, erase)
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

// EraseShared is Erase for an object that several queues share: files are all of
// its sections, in order.
func EraseShared(ctx context.Context, files []*File, out io.Writer, o FileOptions, id string, erase func(q mq.Queue, offset int64) bool) ([]DataFile, []proof.ErasedRow, error) {
	w := NewSharedWriter(out, o)
	var rows []proof.ErasedRow
	for _, f := range files {
		err := w.Section(f.data.Queue)
		if err == nil {
			var erased []proof.ErasedRow
			erased, err = f.eraseInto(ctx, w.w, id, func(offset int64) bool { return erase(f.data.Queue, offset) })
			rows = append(rows, erased...)
		}
		if err != nil {
			w.Abort()
			return nil, nil, fmt.Errorf("erase in %s: %w", f.data.Name, err)
		}
	}
	made, err := w.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("erase in %s: %w", files[0].data.Name, err)
	}
	return made, rows, nil
}

// eraseInto writes the file's rows anew, and says which it has erased.
func (f *File) eraseInto(ctx context.Context, w *FileWriter, id string, erase func(offset int64) bool) ([]proof.ErasedRow, error) {
	q := f.data.Queue
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
	return rows, err
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
