package archive

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"varve/internal/mq"
)

// SharedFormatVersion is the version of a table that has shared objects, and of
// such an object: a program that knows version 1 alone refuses both.
const SharedFormatVersion = 2

// MaxSections is how many queues share an object at most: as many row groups
// as a full file of one queue has, about, so that its footer is no larger.
const MaxSections = 128

const (
	sectionsID      = 904 // among the lower bounds of a shared object's entry; no column has it
	sharedSpecID    = 1   // of the partition spec of shared objects
	sharedOrderID   = 2   // of their sort order
	sectionsVersion = 1   // begins encoded sections
	sharedFolder    = "shared"
	// sharedShare is how many entries of ordinary files one of a shared object
	// counts for in a manifest: its sections make it long.
	sharedShare = 32
)

var errSections = errors.New("the sections of a shared object are not what they should be")

// Section says where the messages of a data file stand in an object that it
// shares with files of other queues. The zero value is that of a file which has
// an object of its own.
type Section struct {
	Row   int64 // of the object: the file's first
	Rows  int64 // of the object
	Bytes int64 // of the object
	At    int64 // where its bytes begin in the object, about
	Count int64 // how many files share the object
}

// FileID tells a data file from all others of its archive.
type FileID struct {
	Name string // of the object
	Row  int64  // of the object: the file's first
}

// ID is the file's identity.
func (f DataFile) ID() FileID { return FileID{f.Name, f.Section.Row} }

// Shared reports whether the file is a section of an object that others share.
// Its Bytes are then its share of the object's.
func (f DataFile) Shared() bool { return f.Section.Rows > 0 }

// ObjectBytes is the length of the object that has the file.
func (f DataFile) ObjectBytes() int64 {
	if f.Shared() {
		return f.Section.Bytes
	}
	return f.Bytes
}

// Object is the file's whole object as Upload takes it: a name and a length.
func (f DataFile) Object() DataFile { return DataFile{Name: f.Name, Bytes: f.ObjectBytes()} }

// Objects gives one file of each object, in the order of their first ones.
func Objects(files []DataFile) []DataFile {
	if !slices.ContainsFunc(files, DataFile.Shared) {
		return files
	}
	seen := map[string]bool{}
	var out []DataFile
	for _, f := range files {
		if !seen[f.Name] {
			seen[f.Name] = true
			out = append(out, f)
		}
	}
	return out
}

// ByObject parts files by their objects, each one's in the order of its rows, in
// the order of their first ones.
func ByObject(files []DataFile) [][]DataFile {
	place := map[string]int{}
	var out [][]DataFile
	for _, f := range files {
		i, ok := place[f.Name]
		if !ok {
			i = len(out)
			place[f.Name] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], f)
	}
	for _, sections := range out {
		slices.SortFunc(sections, func(a, b DataFile) int { return cmp.Compare(a.Section.Row, b.Section.Row) })
	}
	return out
}

// SharedName makes a new, unique object name for a shared object of a broker
// group under a table's root, of messages that were stored from a time on.
func SharedName(broker, topicRoot string, firstMillis, rows, epoch int64) string {
	return fmt.Sprintf("%s/data/%s/%s/%020d-%d-%d-%08x.parquet",
		topicRoot, encodeName(broker), sharedFolder, max(firstMillis, 0), rows, epoch, rand.Uint32())
}

// sharedName reports whether an object's name is a shared one's.
func sharedName(name string) bool {
	parts := strings.Split(name, "/")
	return len(parts) > 1 && parts[len(parts)-2] == sharedFolder
}

// checkSections refuses files that are not the sections of one object, in order:
// by queue id and offset, row after row.
func checkSections(files []DataFile) error {
	first := files[0]
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %w", errSections, first.Name, fmt.Errorf(format, args...))
	}
	if len(files) > MaxSections {
		return bad("%d of them, %d are the most", len(files), MaxSections)
	}
	var rows, size int64
	for i, f := range files {
		s := f.Section
		switch {
		case s.Rows != first.Section.Rows || s.Bytes != first.Section.Bytes || f.Queue.Broker != first.Queue.Broker || f.Queue.Topic != first.Queue.Topic:
			return bad("%v says another thing of the object than %v", f.Queue, first.Queue)
		case f.Schema != first.Schema:
			return bad("%v has columns of schema version %d beside those of %d", f.Queue, f.Schema, first.Schema)
		case s.Count != int64(len(files)):
			return bad("%d of them, %v says %d", len(files), f.Queue, s.Count)
		case s.Row != rows || s.At != size || f.Bytes < 0:
			return bad("that of %v begins at row %d, byte %d, not at %d and %d", f.Queue, s.Row, s.At, rows, size)
		case f.Offsets.From < 0 || f.Rows <= 0 || f.Offsets.Len() != f.Rows:
			return bad("that of %v has %d rows for the offsets %d to %d", f.Queue, f.Rows, f.Offsets.From, f.Offsets.To)
		case i > 0 && (files[i-1].Queue.ID > f.Queue.ID || files[i-1].Queue.ID == f.Queue.ID && files[i-1].Offsets.To > f.Offsets.From):
			return bad("that of %v at offset %d comes behind %v", f.Queue, f.Offsets.From, files[i-1].Queue)
		}
		rows, size = rows+f.Rows, size+f.Bytes
	}
	if rows != first.Section.Rows || size != first.Section.Bytes {
		return bad("%d rows and %d bytes together, the object has %d and %d", rows, size, first.Section.Rows, first.Section.Bytes)
	}
	return nil
}

// encodeSections gives what a shared object's manifest entry says of its
// sections. Their broker, topic, rows and bytes of the object are known from it.
func encodeSections(files []DataFile) []byte {
	b := binary.AppendUvarint([]byte{sectionsVersion}, uint64(len(files)))
	for _, f := range files {
		b = binary.AppendVarint(b, int64(f.Queue.ID))
		for _, v := range []int64{f.Offsets.From, f.Rows, f.Bytes, f.RawBytes, f.Parts} {
			b = binary.AppendUvarint(b, uint64(v))
		}
		b = binary.AppendVarint(b, f.FirstStoreMillis)
		b = binary.AppendUvarint(b, uint64(f.LastStoreMillis-f.FirstStoreMillis))
		b = binary.AppendVarint(b, f.FirstPhysical)
		b = binary.AppendUvarint(b, uint64(f.LastPhysical-f.FirstPhysical))
		b = binary.AppendUvarint(b, uint64(len(f.Proof)))
		b = append(b, f.Proof...)
	}
	return b
}

// varints reads numbers until one is none.
type varints struct {
	b   []byte
	bad bool
}

func (v *varints) take(n int) {
	if n <= 0 || v.bad {
		v.b, v.bad = nil, true
		return
	}
	v.b = v.b[n:]
}

func (v *varints) signed() int64 {
	x, n := binary.Varint(v.b)
	v.take(n)
	return x
}

func (v *varints) int() int64 {
	x, n := binary.Uvarint(v.b)
	if x > 1<<62 {
		n = 0
	}
	v.take(n)
	return int64(x)
}

func (v *varints) text() string {
	n := v.int()
	if v.bad || n > int64(len(v.b)) {
		v.b, v.bad = nil, true
		return ""
	}
	s := string(v.b[:n])
	v.b = v.b[n:]
	return s
}

// decodeSections is the reverse of encodeSections: of says what is known of the
// object from its entry (Name, Rows, Bytes, Epoch, Schema and the queue's topic and broker).
func decodeSections(of DataFile, data []byte) ([]DataFile, error) {
	if len(data) == 0 || data[0] != sectionsVersion {
		return nil, damaged(of.Name, "its manifest entry has no sections of version %d", sectionsVersion)
	}
	v := varints{b: data[1:]}
	n := v.int()
	if n == 0 || n > MaxSections {
		return nil, damaged(of.Name, "its manifest entry has %d sections", n)
	}
	files := make([]DataFile, 0, n)
	var row, at int64
	for range n {
		id := v.signed()
		f := DataFile{Name: of.Name, Queue: of.Queue, Epoch: of.Epoch, Schema: of.Schema}
		f.Queue.ID = int32(id)
		f.Offsets.From, f.Rows, f.Bytes, f.RawBytes, f.Parts = v.int(), v.int(), v.int(), v.int(), v.int()
		f.Offsets.To = f.Offsets.From + f.Rows
		f.FirstStoreMillis = v.signed()
		f.LastStoreMillis = f.FirstStoreMillis + v.int()
		f.FirstPhysical = v.signed()
		f.LastPhysical = f.FirstPhysical + v.int()
		f.Proof = v.text()
		f.Section = Section{Row: row, Rows: of.Rows, Bytes: of.Bytes, At: at, Count: n}
		if v.bad || int64(f.Queue.ID) != id || f.Rows > of.Rows || f.Bytes > of.Bytes {
			return nil, damaged(of.Name, "its manifest entry's sections are cut off, or no sections")
		}
		row, at = row+f.Rows, at+f.Bytes
		files = append(files, f)
	}
	if len(v.b) > 0 {
		return nil, damaged(of.Name, "its manifest entry has %d bytes behind the sections", len(v.b))
	}
	if err := checkSections(files); err != nil {
		return nil, damaged(of.Name, "its manifest entry: %w", err)
	}
	return files, nil
}

// sharedSpec parts shared objects by broker group alone: which queues they have
// is in the rows, and in the bounds of queue_id.
func sharedSpec() iceberg.PartitionSpec {
	return iceberg.NewPartitionSpecID(sharedSpecID,
		iceberg.PartitionField{SourceIDs: []int{idBroker}, FieldID: partitionBroker, Name: "broker", Transform: iceberg.IdentityTransform{}})
}

// admitShared makes a table one that has shared objects, in the version that is
// being made: with the partition spec and the sort order of theirs, and a format
// that older programs refuse. The default spec and order stay.
func admitShared(b *table.MetadataBuilder, meta table.Metadata) error {
	if meta.Properties()[propFormat] == fmt.Sprint(SharedFormatVersion) {
		return nil
	}
	spec := sharedSpec()
	if err := b.AddPartitionSpec(&spec, false); err != nil {
		return fmt.Errorf("partition spec of shared objects: %w", err)
	}
	if have, err := b.GetSpecByID(sharedSpecID); err != nil || !have.CompatibleWith(&spec) {
		return fmt.Errorf("partition spec %d is somebody else's: %w", sharedSpecID, errors.Join(err, ErrSchema))
	}
	field := func(id int) table.SortField {
		return table.SortField{SourceIDs: []int{id}, Transform: iceberg.IdentityTransform{}, Direction: table.SortASC, NullOrder: table.NullsFirst}
	}
	order, err := table.NewSortOrder(sharedOrderID, []table.SortField{field(idQueueID), field(idQueueOffset)})
	if err != nil {
		return err
	}
	if err := b.AddSortOrder(&order); err != nil {
		return fmt.Errorf("sort order of shared objects: %w", err)
	}
	return b.SetProperties(iceberg.Properties{propFormat: fmt.Sprint(SharedFormatVersion)})
}

// icebergObject describes an object to engines: that of one queue's file, or a
// shared one by all of its sections.
func icebergObject(l location, files []DataFile) (iceberg.DataFile, error) {
	first := files[0]
	if !first.Shared() {
		return icebergFile(l, first)
	}
	if err := checkSections(files); err != nil {
		return nil, err
	}
	b, err := iceberg.NewDataFileBuilder(sharedSpec(), iceberg.EntryContentData, l.path(first.Name), iceberg.ParquetFile,
		map[int]any{partitionBroker: first.Queue.Broker}, nil, nil, first.Section.Rows, first.Section.Bytes)
	if err != nil {
		return nil, err
	}
	counts, nulls := map[int]int64{}, map[int]int64{}
	for _, id := range []int{idBroker, idQueueID, idQueueOffset, idStoreTime, idPhysicalOffset} {
		counts[id], nulls[id] = first.Section.Rows, 0
	}
	least, most := first, first
	for _, f := range files {
		least.Queue.ID, most.Queue.ID = min(least.Queue.ID, f.Queue.ID), max(most.Queue.ID, f.Queue.ID)
		least.Offsets.From, most.Offsets.To = min(least.Offsets.From, f.Offsets.From), max(most.Offsets.To, f.Offsets.To)
		least.FirstStoreMillis, most.LastStoreMillis = min(least.FirstStoreMillis, f.FirstStoreMillis), max(most.LastStoreMillis, f.LastStoreMillis)
		least.FirstPhysical, most.LastPhysical = min(least.FirstPhysical, f.FirstPhysical), max(most.LastPhysical, f.LastPhysical)
	}
	bounds := func(id int32, off, store, phys int64) map[int][]byte {
		return map[int][]byte{
			idBroker: []byte(first.Queue.Broker), idQueueID: int32Bytes(id), idQueueOffset: int64Bytes(off),
			idStoreTime: int64Bytes(micros(store)), idPhysicalOffset: int64Bytes(phys),
		}
	}
	low := bounds(least.Queue.ID, least.Offsets.From, least.FirstStoreMillis, least.FirstPhysical)
	low[sectionsID] = encodeSections(files)
	high := bounds(most.Queue.ID, most.Offsets.To-1, most.LastStoreMillis, most.LastPhysical)
	if first.Schema > 0 {
		b = b.ColumnSizes(map[int]int64{schemaID: first.Schema})
	}
	if c := first.Columns; c != nil {
		c.describe(first.Section.Rows, counts, nulls, low, high)
	}
	return b.ValueCounts(counts).NullValueCounts(nulls).SortOrderID(sharedOrderID).LowerBoundValues(low).UpperBoundValues(high).Build(), nil
}

// filesOf gives the data files that a manifest entry describes, by row: one, or
// the sections of a shared object.
func filesOf(l location, topic string, d iceberg.DataFile) ([]DataFile, error) {
	sections, shared := d.LowerBoundValues()[sectionsID]
	if !shared {
		f, err := fromIceberg(l, topic, d)
		return []DataFile{f}, err
	}
	name, err := l.name(d.FilePath())
	if err != nil {
		return nil, err
	}
	if d.ContentType() != iceberg.EntryContentData || d.FileFormat() != iceberg.ParquetFile {
		return nil, damaged(name, "a %s file in format %s was committed by somebody else", d.ContentType(), d.FileFormat())
	}
	broker, ok := d.Partition()[partitionBroker].(string)
	if !ok {
		return nil, damaged(name, "partition %v is not a broker", d.Partition())
	}
	of := DataFile{Name: name, Queue: mq.Queue{Broker: broker, Topic: topic}, Rows: d.Count(), Bytes: d.FileSizeBytes()}
	_, _, of.Epoch, _ = parseFileName(name)
	of.Schema = schemaOf(d)
	return decodeSections(of, sections)
}

// specOf is the partition spec of a file's manifest.
func specOf(f DataFile) iceberg.PartitionSpec {
	if f.Shared() {
		return sharedSpec()
	}
	return partitionSpec()
}
