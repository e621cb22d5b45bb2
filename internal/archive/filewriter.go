package archive

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"varve/internal/mq"
	"varve/internal/proof"
	"varve/internal/typed"
)

// Defaults and limits of a FileWriter.
const (
	defaultRowGroupRows  = 16384
	defaultRowGroupBytes = 64 << 20
	pageBytes            = 256 << 10
	bloomBitsPerKey      = 10
	// A batch of rows goes to the column writers together; a page ends at the
	// batch that fills it.
	batchRows  = 128
	batchBytes = 64 << 10
)

// Keys of a data file's own metadata, for people who meet it alone.
const (
	metaFormat  = "varve.format"
	metaTopic   = "varve.topic"
	metaBroker  = "varve.broker"
	metaQueueID = "varve.queue-id"
	metaFrom    = "varve.from"
	metaTo      = "varve.to"
	metaEpoch   = "varve.epoch"
	metaProof   = "varve.proof"
	metaSchema  = "varve.schema" // version, where there are typed columns
)

// FormatVersion is the version of the archive's files and layout.
const FormatVersion = 1

// FileOptions configure a FileWriter. The zero value is ready to use.
type FileOptions struct {
	Epoch         int64  // of the writer, kept in the file and its DataFile
	RowGroupRows  int    // default 16384
	RowGroupBytes int    // of stored records in a row group, at most; default 64 MiB
	SpillDir      string // where finished pages wait for their row group; memory if empty
	// Typed are columns that are made of the bodies; nil for none.
	Typed *typed.Layout

	shared bool // by several queues: of SharedWriter
}

func (o FileOptions) withDefaults() FileOptions {
	if o.RowGroupRows <= 0 {
		o.RowGroupRows = defaultRowGroupRows
	}
	if o.RowGroupBytes <= 0 {
		o.RowGroupBytes = defaultRowGroupBytes
	}
	return o
}

// FileWriter writes one data file: consecutive records of one queue. It must
// be closed or aborted, and may be reused by Reset. It isn't safe for
// concurrent use.
type FileWriter struct {
	queue mq.Queue
	opts  FileOptions
	out   counter
	//lint:ignore SA1019 its successor is for writers of Go values; columns are written here
	pw   *parquet.Writer
	cols []*parquet.ColumnWriter

	arena    []byte // the batch's records
	rows     []row
	pairs    []pair
	keys     [][]byte
	values   []parquet.Value
	hosts    hostCache
	inflater inflater
	typed    *typedRows // nil without typed columns
	// kept is what rows bring along that were in a file before, by offset; nil for
	// a file that is made of the log.
	kept map[int64]rewritten

	proof    proof.Builder
	hasher   proof.Hasher
	restored []byte // a record as it is served, where that isn't how it came
	again    rewritten

	stats     DataFile
	groupRows int
	groupRaw  int
	err       error // the first one; nothing works after it
	closed    bool
}

// counter counts what went to the file.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// NewFileWriter begins a data file of a queue.
func NewFileWriter(w io.Writer, q mq.Queue, o FileOptions) *FileWriter {
	f := &FileWriter{opts: o.withDefaults()}
	if o.Typed != nil {
		f.typed = newTypedRows(o.Typed)
	}
	f.pw = parquet.NewWriter(&f.out, writerOptions(f.opts)...)
	f.Reset(w, q, f.opts.Epoch)
	return f
}

func writerOptions(o FileOptions) []parquet.WriterOption {
	opts := []parquet.WriterOption{
		fileSchema(o.Typed),
		parquet.Compression(codec),
		parquet.PageBufferSize(pageBytes),
		parquet.CreatedBy("varve", strconv.Itoa(FormatVersion), ""),
		// The page index has the bounds; in page headers they would repeat whole
		// bodies, and a header that large is refused by other readers.
		parquet.DataPageStatistics(false),
		parquet.SkipPageBounds("body"),
		parquet.SkipPageBounds("stored_form"),
		parquet.SkipPageBounds("properties", "key_value", "key"),
		parquet.SkipPageBounds("properties", "key_value", "value"),
		parquet.BloomFilters(
			parquet.SplitBlockFilter(bloomBitsPerKey, "msg_id"),
			parquet.SplitBlockFilter(bloomBitsPerKey, "keys", "list", "element")),
	}
	if !o.shared {
		opts = append(opts, parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending("queue_offset"))))
	}
	opts = append(opts, typedOptions(o.Typed)...)
	if o.SpillDir != "" {
		opts = append(opts, parquet.ColumnPageBuffers(parquet.NewFileBufferPool(o.SpillDir, "pages-*")))
	}
	return opts
}

// Reset begins another file with the same buffers. A file that was not closed
// is given up.
func (w *FileWriter) Reset(out io.Writer, q mq.Queue, epoch int64) {
	w.out = counter{w: out}
	w.pw.Reset(&w.out)
	w.cols = w.pw.ColumnWriters()
	w.queue, w.opts.Epoch = q, epoch
	w.stats = DataFile{Queue: q, Epoch: epoch}
	w.proof.Parts()
	w.clearBatch()
	w.groupRows, w.groupRaw = 0, 0
	if w.typed != nil {
		w.typed.begin()
	}
	w.err, w.closed = nil, false
}

var errClosed = errors.New("file writer is closed")

// Add appends the record of the next offset; the first one may be any. r isn't
// kept. A record that is refused changes nothing.
func (w *FileWriter) Add(r mq.Record) error {
	if err := w.ready(); err != nil {
		return err
	}
	if err := r.Check(false); err != nil {
		return w.refuse(r, err)
	}
	if len(w.rows) > 0 && len(w.arena)+len(r) > cap(w.arena) {
		if err := w.flushBatch(); err != nil {
			return err
		}
	}
	if cap(w.arena) < len(r) {
		w.arena = make([]byte, 0, max(batchBytes, len(r)))
	}
	at := len(w.arena)
	w.arena = append(w.arena, r...)
	if err := w.add(mq.Record(w.arena[at:len(w.arena):len(w.arena)])); err != nil {
		w.arena = w.arena[:at]
		return err
	}
	return nil
}

// AddAll appends the records of the next offsets, concatenated: it is for
// blocks of many. records isn't kept. Where one is refused, those before it are
// added.
func (w *FileWriter) AddAll(records []byte) error {
	if err := w.ready(); err != nil {
		return err
	}
	for len(records) > 0 {
		n, err := w.addBatch(records)
		if err != nil {
			return errors.Join(err, w.flushBatch())
		}
		records = records[n:]
	}
	return w.flushBatch()
}

// addBatch adds the first batchBytes of records, or one that is longer, and
// gives their length. It copies them first: they are read column by column,
// which is slow where the cache doesn't hold them, and one copy in order
// brings them there faster than the columns' steps would.
func (w *FileWriter) addBatch(records []byte) (int, error) {
	if err := w.flushBatch(); err != nil { // its rows alias the arena
		return 0, err
	}
	n := min(len(records), batchBytes)
	if len(records) >= 4 {
		n = max(n, min(len(records), int(binary.BigEndian.Uint32(records)), mq.MaxRecordLen))
	}
	if cap(w.arena) < n {
		w.arena = make([]byte, 0, n)
	}
	w.arena = append(w.arena[:0], records[:n]...)
	batch, added := w.arena, 0
	for added < n {
		rest := batch[added:]
		if added > 0 && n < len(records) && (len(rest) < 4 || int(binary.BigEndian.Uint32(rest)) > len(rest)) {
			break // it is the next batch's first
		}
		r, _, err := mq.NextRecord(rest)
		if err == nil {
			err = w.add(r)
		}
		if err != nil {
			return added, err
		}
		added += len(r)
	}
	return added, nil
}

func (w *FileWriter) ready() error {
	if w.closed {
		return errClosed
	}
	return w.err
}

func (w *FileWriter) refuse(r mq.Record, err error) error {
	return fmt.Errorf("add to file of %s after offset %d, record of %d bytes: %w", w.queue, w.stats.Offsets.To-1, len(r), err)
}

// add appends a whole record whose memory stays until the next flush.
func (w *FileWriter) add(r mq.Record) error {
	if want := w.stats.Offsets.To; w.stats.Rows > 0 && r.QueueOffset() != want {
		return w.refuse(r, fmt.Errorf("%w: offset %d, want %d", mq.ErrBadRecord, r.QueueOffset(), want))
	}
	one, err := w.parse(r)
	if err != nil {
		return w.refuse(r, err)
	}
	again := w.again
	if kept, ok := w.kept[one.queueOffset]; ok {
		again = kept
	}
	one.erased = again.erased
	if err := w.hash(r, &one); err != nil {
		return w.refuse(r, err)
	}
	if again.encoding != nil {
		one.encoding = again.encoding
	}
	if w.typed != nil {
		w.typed.add(&one)
	}
	w.rows = append(w.rows, one)
	w.count(r)
	switch {
	case w.groupRows >= w.opts.RowGroupRows || w.groupRaw >= w.opts.RowGroupBytes:
		return w.flushGroup()
	case len(w.rows) == batchRows:
		return w.flushBatch()
	}
	return nil
}

// count keeps the file's statistics.
func (w *FileWriter) count(r mq.Record) {
	s := &w.stats
	off, store, phys := r.QueueOffset(), r.StoreTimeMillis(), r.PhysicalOffset()
	if s.Rows == 0 {
		s.Offsets.From = off
		s.FirstStoreMillis, s.LastStoreMillis = store, store
		s.FirstPhysical, s.LastPhysical = phys, phys
	}
	s.Offsets.To = off + 1
	s.FirstStoreMillis = min(s.FirstStoreMillis, store)
	s.LastStoreMillis = max(s.LastStoreMillis, store)
	s.FirstPhysical = min(s.FirstPhysical, phys)
	s.LastPhysical = max(s.LastPhysical, phys)
	s.Rows++
	s.RawBytes += int64(len(r))
	w.groupRows++
	w.groupRaw += len(r)
}

func (w *FileWriter) clearBatch() {
	clear(w.rows) // lets go of inflated bodies
	if w.typed != nil {
		w.typed.clear()
	}
	w.hasher.Drop()
	w.arena, w.rows, w.pairs, w.keys = w.arena[:0], w.rows[:0], w.pairs[:0], w.keys[:0]
	if cap(w.arena) > 16*batchBytes {
		w.arena = nil // one huge record must not pin its memory
	}
}

func (w *FileWriter) fail(err error) error {
	w.err = fmt.Errorf("write file of %s: %w", w.queue, err)
	return w.err
}

func (w *FileWriter) flushBatch() error {
	if len(w.rows) == 0 {
		return nil
	}
	w.prove()
	for col := range numColumns {
		w.values = w.column(w.values[:0], col)
		if _, err := w.cols[col].WriteRowValues(w.values); err != nil {
			return w.fail(fmt.Errorf("column %d: %w", col, err))
		}
	}
	if w.typed != nil {
		if err := w.flushTyped(); err != nil {
			return w.fail(err)
		}
	}
	w.clearBatch()
	return nil
}

func (w *FileWriter) flushGroup() error {
	if err := w.flushBatch(); err != nil {
		return err
	}
	if w.groupRows == 0 {
		return nil
	}
	if err := w.pw.Flush(); err != nil {
		return w.fail(err)
	}
	w.cols = w.pw.ColumnWriters()
	w.groupRows, w.groupRaw = 0, 0
	return nil
}

// Size estimates the file's length if it were closed now: what was written,
// and half of the records that wait for their row group.
func (w *FileWriter) Size() int64 { return w.out.n + int64(w.groupRaw)/2 }

// RawBytes is the length of the records added.
func (w *FileWriter) RawBytes() int64 { return w.stats.RawBytes }

// Rows is the number of records added.
func (w *FileWriter) Rows() int64 { return w.stats.Rows }

// Close ends the file and describes it; Name is left to the caller. A file
// without records is valid, and must not be committed.
func (w *FileWriter) Close() (DataFile, error) {
	if w.closed {
		return DataFile{}, errClosed
	}
	w.closed = true
	defer w.inflater.close()
	if w.err != nil {
		return DataFile{}, w.err
	}
	if err := w.flushGroup(); err != nil {
		return DataFile{}, err
	}
	w.stats.Hashes = ""
	if parts := w.proof.Parts(); len(parts) > 0 {
		w.stats.Hashes = string(parts.Encode())
		w.pw.SetKeyValueMetadata(metaProof, base64.StdEncoding.EncodeToString([]byte(w.stats.Hashes)))
	}
	for k, v := range map[string]string{
		metaFormat:  strconv.Itoa(FormatVersion),
		metaTopic:   w.queue.Topic,
		metaBroker:  w.queue.Broker,
		metaQueueID: strconv.Itoa(int(w.queue.ID)),
		metaFrom:    strconv.FormatInt(w.stats.Offsets.From, 10),
		metaTo:      strconv.FormatInt(w.stats.Offsets.To, 10),
		metaEpoch:   strconv.FormatInt(w.opts.Epoch, 10),
	} {
		w.pw.SetKeyValueMetadata(k, v)
	}
	if w.opts.Typed != nil {
		w.pw.SetKeyValueMetadata(metaSchema, strconv.Itoa(w.opts.Typed.Version))
		w.stats.Schema = int64(w.opts.Typed.Version)
	}
	if w.typed != nil {
		w.stats.Columns = w.typed.stats()
	}
	if err := w.pw.Close(); err != nil {
		return DataFile{}, w.fail(err)
	}
	w.stats.Bytes = w.out.n
	return w.stats, nil
}

// Abort gives the file up and frees what waits in SpillDir.
func (w *FileWriter) Abort() {
	w.closed = true
	w.inflater.close()
	w.pw.Reset(io.Discard)
	w.clearBatch()
}
