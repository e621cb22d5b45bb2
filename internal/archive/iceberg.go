package archive

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"varve/internal/mq"
)

// Iceberg's numbers for our tables.
const (
	icebergVersion    = 2
	partitionBroker   = 1000 // partition field ids are a space of their own
	partitionQueueID  = 1001
	rawBytesID        = 900  // among the column sizes of an entry; no column has it
	partsID           = 901  // likewise: DataFile.Parts
	proofID           = 902  // DataFile.Proof, among the lower bounds
	schemaID          = 903  // DataFile.Schema, among the column sizes
	previousVersions  = "20" // metadata files that a metadata file names
	maxManifestSize   = 64 << 20
	maxMetadataLength = 256 << 20
	maxMarker         = 64 << 10
)

// Table properties.
const (
	propTopic       = "varve.topic"
	propFormat      = "varve.format"
	propIncarnation = "varve.incarnation"
	propFences      = "varve.fences"
	propRetired     = "varve.retired"
	propEnded       = "varve.ended"          // broker groups whose topic was deleted while others had theirs, and when
	propSchema      = "varve.schema-version" // of the typed columns
)

// Snapshot summary fields.
const (
	sumEpoch        = "varve.epoch"
	sumNext         = "varve.next-offsets"
	sumGaps         = "varve.gaps"
	sumRemovedBelow = "varve.removed-below"
	sumNextPhysical = "varve.next-physical"
	sumStoreLow     = "varve.store-time-low"
	sumStoreLows    = "varve.store-time-lows"
	sumCommitID     = "varve.commit-id"
	sumReason       = "varve.reason"
	sumProof        = "varve.proof"
	sumProofBases   = "varve.proof-bases"
)

// tableSchema is the row schema in Iceberg's terms; see schema.go. Typed columns
// come behind it, where the table has or had some.
func tableSchema(more ...iceberg.NestedField) *iceberg.Schema {
	p := iceberg.PrimitiveTypes
	f := func(id int, name string, typ iceberg.Type, required bool) iceberg.NestedField {
		return iceberg.NestedField{ID: id, Name: name, Type: typ, Required: required}
	}
	return iceberg.NewSchema(0, append([]iceberg.NestedField{
		f(idBroker, "broker", p.String, true),
		f(idQueueID, "queue_id", p.Int32, true),
		f(idQueueOffset, "queue_offset", p.Int64, true),
		f(idStoreTime, "store_time", p.TimestampTz, true),
		f(idBornTime, "born_time", p.TimestampTz, true),
		f(idMsgID, "msg_id", p.String, true),
		f(idKeys, "keys", &iceberg.ListType{ElementID: idKeysElement, Element: p.String, ElementRequired: true}, true),
		f(idTag, "tag", p.String, false),
		f(idProperties, "properties", &iceberg.MapType{
			KeyID: idPropertiesKey, KeyType: p.String,
			ValueID: idPropertiesValue, ValueType: p.String, ValueRequired: true,
		}, true),
		f(idBody, "body", p.Binary, true),
		f(idReconsumeTimes, "reconsume_times", p.Int32, true),
		f(idSysFlag, "sys_flag", p.Int32, true),
		f(idFlag, "flag", p.Int32, true),
		f(idBodyCRC, "body_crc", p.Int32, true),
		f(idBornHost, "born_host", p.String, true),
		f(idStoreHost, "store_host", p.String, true),
		f(idPhysicalOffset, "physical_offset", p.Int64, true),
		f(idPreparedOffset, "prepared_transaction_offset", p.Int64, true),
		f(idBodyEncoding, "body_encoding", p.String, false),
		f(idErasedHash, "erased_hash", iceberg.FixedTypeOf(32), false),
		f(idStoredForm, "stored_form", p.Binary, false),
	}, more...)...)
}

func partitionSpec() iceberg.PartitionSpec {
	return iceberg.NewPartitionSpecID(0,
		iceberg.PartitionField{SourceIDs: []int{idBroker}, FieldID: partitionBroker, Name: "broker", Transform: iceberg.IdentityTransform{}},
		iceberg.PartitionField{SourceIDs: []int{idQueueID}, FieldID: partitionQueueID, Name: "queue_id", Transform: iceberg.IdentityTransform{}})
}

// newMetadata is the first version of a table.
func newMetadata(p tablePlace, location string) (table.Metadata, error) {
	b, err := table.NewMetadataBuilder(icebergVersion)
	if err != nil {
		return nil, err
	}
	spec := partitionSpec()
	order, err := table.NewSortOrder(1, []table.SortField{{
		SourceIDs: []int{idQueueOffset}, Transform: iceberg.IdentityTransform{},
		Direction: table.SortASC, NullOrder: table.NullsFirst,
	}})
	if err != nil {
		return nil, err
	}
	steps := []func() error{
		func() error { return b.SetUUID(uuid.New()) },
		func() error { return b.AddSchema(tableSchema()) },
		func() error { return b.SetCurrentSchemaID(-1) },
		func() error { return b.AddSortOrder(&order) },
		func() error { return b.SetDefaultSortOrderID(-1) },
		func() error { return b.AddPartitionSpec(&spec, true) },
		func() error { return b.SetDefaultSpecID(-1) },
		func() error { return b.SetLoc(location) },
		func() error {
			return b.SetProperties(iceberg.Properties{
				propTopic:                            p.topic,
				propFormat:                           strconv.Itoa(FormatVersion),
				propIncarnation:                      strconv.Itoa(p.incarnation),
				table.MetadataPreviousVersionsMaxKey: previousVersions,
			})
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b.Build()
}

// location maps a table's objects to what its metadata calls them. The two
// stay apart so that an archive that was moved or copied is still readable
// here: names are relative to the root, whatever the recorded location.
type location struct{ root, url string }

func (l location) path(name string) string { return l.url + strings.TrimPrefix(name, l.root) }

func (l location) name(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, l.url+"/")
	if !ok {
		return "", damaged(l.root, "metadata names %s, which is outside of the table's location %s", path, l.url)
	}
	return l.root + "/" + rest, nil
}

func int32Bytes(v int32) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }
func int64Bytes(v int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(v)) }

// icebergFile describes a data file to engines: counts, and bounds of the
// columns that queries prune by.
func icebergFile(l location, f DataFile) (iceberg.DataFile, error) {
	b, err := iceberg.NewDataFileBuilder(partitionSpec(), iceberg.EntryContentData, l.path(f.Name), iceberg.ParquetFile,
		map[int]any{partitionBroker: f.Queue.Broker, partitionQueueID: f.Queue.ID}, nil, nil, f.Rows, f.Bytes)
	if err != nil {
		return nil, err
	}
	counts, nulls := map[int]int64{}, map[int]int64{}
	for _, id := range []int{idBroker, idQueueID, idQueueOffset, idStoreTime, idPhysicalOffset} {
		counts[id], nulls[id] = f.Rows, 0
	}
	bounds := func(off, store, phys int64) map[int][]byte {
		return map[int][]byte{
			idBroker:         []byte(f.Queue.Broker),
			idQueueID:        int32Bytes(f.Queue.ID),
			idQueueOffset:    int64Bytes(off),
			idStoreTime:      int64Bytes(micros(store)),
			idPhysicalOffset: int64Bytes(phys),
		}
	}
	sizes := map[int]int64{}
	if f.RawBytes > 0 {
		sizes[rawBytesID] = f.RawBytes
	}
	if f.Parts > 0 {
		sizes[partsID] = f.Parts
	}
	if f.Schema > 0 {
		sizes[schemaID] = f.Schema
	}
	if len(sizes) > 0 {
		b = b.ColumnSizes(sizes)
	}
	low := bounds(f.Offsets.From, f.FirstStoreMillis, f.FirstPhysical)
	if f.Proof != "" {
		low[proofID] = []byte(f.Proof)
	}
	high := bounds(f.Offsets.To-1, f.LastStoreMillis, f.LastPhysical)
	if c := f.Columns; c != nil {
		c.describe(f.Rows, counts, nulls, low, high)
	}
	return b.ValueCounts(counts).NullValueCounts(nulls).SortOrderID(1).
		LowerBoundValues(low).UpperBoundValues(high).Build(), nil
}

// fromIceberg is the reverse of icebergFile. It refuses what this archive
// would not have written.
func fromIceberg(l location, topic string, d iceberg.DataFile) (DataFile, error) {
	name, err := l.name(d.FilePath())
	if err != nil {
		return DataFile{}, err
	}
	f := DataFile{Name: name, Rows: d.Count(), Bytes: d.FileSizeBytes(), RawBytes: d.ColumnSizes()[rawBytesID], Parts: d.ColumnSizes()[partsID], Queue: mq.Queue{Topic: topic}}
	if d.ContentType() != iceberg.EntryContentData || d.FileFormat() != iceberg.ParquetFile {
		return f, damaged(name, "a %s file in format %s was committed by somebody else", d.ContentType(), d.FileFormat())
	}
	part := d.Partition()
	broker, ok1 := part[partitionBroker].(string)
	id, ok2 := partitionInt(part[partitionQueueID])
	if !ok1 || !ok2 {
		return f, damaged(name, "partition %v is not a broker and a queue", part)
	}
	f.Queue.Broker, f.Queue.ID = broker, id
	low, high := d.LowerBoundValues(), d.UpperBoundValues()
	f.Proof = string(low[proofID])
	f.Schema = schemaOf(d)
	var bad error
	bound := func(m map[int][]byte, id int) int64 {
		if len(m[id]) != 8 {
			bad = damaged(name, "the manifest has no bounds of column %d", id)
			return 0
		}
		return int64(binary.LittleEndian.Uint64(m[id]))
	}
	f.Offsets = mq.Range{From: bound(low, idQueueOffset), To: bound(high, idQueueOffset) + 1}
	f.FirstStoreMillis, f.LastStoreMillis = millis(bound(low, idStoreTime)), millis(bound(high, idStoreTime))
	f.FirstPhysical, f.LastPhysical = bound(low, idPhysicalOffset), bound(high, idPhysicalOffset)
	if bad == nil && f.Offsets.Len() != f.Rows {
		bad = damaged(name, "%d rows for the offsets %d to %d", f.Rows, f.Offsets.From, f.Offsets.To)
	}
	_, _, f.Epoch, _ = parseFileName(name)
	return f, bad
}

// schemaOf gives what DataFile.Schema says.
func schemaOf(d iceberg.DataFile) int64 {
	if v := d.ColumnSizes()[schemaID]; v != 0 {
		return v
	}
	if _, typed := d.NullValueCounts()[idBodyError]; typed {
		return -1
	}
	return 0
}

func partitionInt(v any) (int32, bool) {
	switch n := v.(type) {
	case int32:
		return n, true
	case int64:
		return int32(n), int64(int32(n)) == n
	case int:
		return int32(n), int(int32(n)) == n
	}
	return 0, false
}

// encodeManifest writes a manifest of entries.
func encodeManifest(path string, snapshotID int64, spec iceberg.PartitionSpec, entries []iceberg.ManifestEntry) (iceberg.ManifestFile, []byte, error) {
	var buf bytes.Buffer
	m, err := iceberg.WriteManifest(path, &buf, icebergVersion, spec, tableSchema(), snapshotID, entries)
	return m, buf.Bytes(), err
}

// byBroker and byQueue are the maps of a summary as JSON.
type (
	byBroker map[string]int64
	byQueue  map[mq.Queue]int64
)

func (m byBroker) encode() string {
	b, _ := json.Marshal(m) // a map of numbers
	return string(b)
}

func decodeByBroker(s string) (byBroker, error) {
	m := byBroker{}
	if s == "" {
		return m, nil
	}
	err := json.Unmarshal([]byte(s), &m)
	return m, err
}

// encode gives {"<broker>": {"<queue id>": offset}}.
func (m byQueue) encode() string {
	out := map[string]map[string]int64{}
	for q, off := range m {
		if out[q.Broker] == nil {
			out[q.Broker] = map[string]int64{}
		}
		out[q.Broker][strconv.Itoa(int(q.ID))] = off
	}
	b, _ := json.Marshal(out)
	return string(b)
}

func decodeByQueue(topic, s string) (byQueue, error) {
	m := byQueue{}
	if s == "" {
		return m, nil
	}
	var in map[string]map[string]int64
	if err := json.Unmarshal([]byte(s), &in); err != nil {
		return nil, err
	}
	for broker, queues := range in {
		for id, off := range queues {
			n, err := strconv.ParseInt(id, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("queue id %q: %w", id, err)
			}
			m[mq.Queue{Broker: broker, Topic: topic, ID: int32(n)}] = off
		}
	}
	return m, nil
}

// newSnapshotID draws a positive id that the table does not have.
func newSnapshotID(m table.Metadata) int64 {
	for {
		if id := rand.Int64(); id > 0 && m.SnapshotByID(id) == nil {
			return id
		}
	}
}
