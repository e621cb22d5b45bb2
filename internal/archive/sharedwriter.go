package archive

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"varve/internal/mq"
	"varve/internal/proof"
)

// SharedWriter writes an object that several queues share, section after
// section: by queue id, and a queue's by offset. Each section has row groups of
// its own. It must be closed or aborted, and isn't safe for concurrent use.
type SharedWriter struct {
	w    *FileWriter
	done []DataFile // sections that have ended
}

// NewSharedWriter begins a shared object. Its sections have the same typed columns.
func NewSharedWriter(out io.Writer, o FileOptions) *SharedWriter {
	o.shared = true
	return &SharedWriter{w: NewFileWriter(out, mq.Queue{}, o)}
}

// Section ends the section before and begins one of a queue.
func (s *SharedWriter) Section(q mq.Queue) error {
	if err := s.end(); err != nil {
		return err
	}
	if n := len(s.done); n > 0 && (s.done[0].Queue.Broker != q.Broker || s.done[0].Queue.Topic != q.Topic) {
		return fmt.Errorf("%w: %v beside %v", errSections, q, s.done[0].Queue)
	}
	s.w.queue, s.w.stats = q, DataFile{Queue: q, Epoch: s.w.opts.Epoch}
	return nil
}

// Add appends the record of the section's next offset, as FileWriter.Add does.
func (s *SharedWriter) Add(r mq.Record) error { return s.w.Add(r) }

// end ends the section that was begun, if it has rows.
func (s *SharedWriter) end() error {
	if err := s.w.ready(); err != nil {
		return err
	}
	if err := s.w.flushGroup(); err != nil {
		return err
	}
	hashes := s.w.proof.Parts()
	if s.w.stats.Rows > 0 {
		s.put(s.w.stats, hashes)
		s.w.stats = DataFile{}
	}
	return nil
}

// put notes a section whose rows were written.
func (s *SharedWriter) put(d DataFile, hashes proof.Parts) {
	d.Hashes, d.Section, d.Columns = "", Section{}, nil
	if len(hashes) > 0 {
		d.Hashes = string(hashes.Encode())
	}
	for _, o := range s.done {
		d.Section.Row += o.Rows
	}
	s.done = append(s.done, d)
}

// Close ends the object and describes its sections, in order; the name is left to
// the caller.
func (s *SharedWriter) Close() ([]DataFile, error) {
	if err := s.end(); err != nil {
		return nil, err
	}
	w := s.w
	w.closed = true
	defer w.inflater.close()
	if len(s.done) == 0 {
		return nil, errors.New("a shared object without rows")
	}
	notes := make([]sectionNote, len(s.done))
	epoch := s.done[0].Epoch
	for i, d := range s.done {
		epoch = max(epoch, d.Epoch)
		notes[i] = sectionNote{Queue: d.Queue.ID, From: d.Offsets.From, To: d.Offsets.To, Row: d.Section.Row}
		if d.Hashes != "" {
			notes[i].Proof = base64.StdEncoding.EncodeToString([]byte(d.Hashes))
		}
	}
	text, err := json.Marshal(notes)
	if err != nil {
		return nil, err
	}
	for k, v := range map[string]string{
		metaFormat:   strconv.Itoa(SharedFormatVersion),
		metaTopic:    s.done[0].Queue.Topic,
		metaBroker:   s.done[0].Queue.Broker,
		metaEpoch:    strconv.FormatInt(epoch, 10),
		metaSections: string(text),
	} {
		w.pw.SetKeyValueMetadata(k, v)
	}
	s.describeTyped()
	if err := w.pw.Close(); err != nil {
		return nil, w.fail(err)
	}
	s.measure(epoch)
	return s.done, checkSections(s.done)
}

// describeTyped says of every section what is known of the object's typed columns.
func (s *SharedWriter) describeTyped() {
	w := s.w
	if w.opts.Typed == nil {
		return
	}
	w.pw.SetKeyValueMetadata(metaSchema, strconv.Itoa(w.opts.Typed.Version))
	var columns *ColumnStats
	if w.typed != nil {
		columns = w.typed.stats()
	}
	for i := range s.done {
		s.done[i].Schema, s.done[i].Columns = int64(w.opts.Typed.Version), columns
	}
}

// measure gives each section its share of the object's bytes: as its row groups
// have of all row groups'.
func (s *SharedWriter) measure(epoch int64) {
	last := s.done[len(s.done)-1]
	rows, size := last.Section.Row+last.Rows, s.w.out.n
	sizes := make([]int64, len(s.done))
	var row, sum int64
	at := 0
	for _, g := range s.w.pw.File().Metadata().RowGroups {
		for at+1 < len(s.done) && row >= s.done[at+1].Section.Row {
			at++
		}
		row += g.NumRows
		for i := range g.Columns {
			sizes[at] += g.Columns[i].MetaData.TotalCompressedSize
			sum += g.Columns[i].MetaData.TotalCompressedSize
		}
	}
	var begin int64
	for i := range s.done {
		d := &s.done[i]
		d.Epoch = epoch // the name has one
		d.Section.Rows, d.Section.Bytes, d.Section.At, d.Section.Count = rows, size, begin, int64(len(s.done))
		if d.Bytes = size - begin; i+1 < len(s.done) {
			d.Bytes = size * sizes[i] / max(sum, 1)
		}
		begin += d.Bytes
	}
}

// Abort gives the object up.
func (s *SharedWriter) Abort() { s.w.Abort() }
