package archive

import (
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"varve/internal/typed"
)

// Field ids of the row schema, fixed for ever. Ids 100 to 199 are the inner
// fields of lists and maps; typed columns begin at 1000.
const (
	idBroker         = 1
	idQueueID        = 2
	idQueueOffset    = 3
	idStoreTime      = 4
	idBornTime       = 5
	idMsgID          = 6
	idKeys           = 7
	idTag            = 8
	idProperties     = 9
	idBody           = 10
	idReconsumeTimes = 11
	idSysFlag        = 12
	idFlag           = 13
	idBodyCRC        = 14
	idBornHost       = 15
	idStoreHost      = 16
	idPhysicalOffset = 17
	idPreparedOffset = 18
	idBodyEncoding   = 19
	idErasedHash     = 20
	idStoredForm     = 21
	idBodyError      = 22 // only beside typed columns

	idKeysElement     = 100
	idPropertiesKey   = 101
	idPropertiesValue = 102
)

// Leaf columns of the Parquet schema in their order.
const (
	colBroker = iota
	colQueueID
	colQueueOffset
	colStoreTime
	colBornTime
	colMsgID
	colKeys
	colTag
	colPropertyKey
	colPropertyValue
	colBody
	colReconsumeTimes
	colSysFlag
	colFlag
	colBodyCRC
	colBornHost
	colStoreHost
	colPhysicalOffset
	colPreparedOffset
	colBodyEncoding
	colErasedHash
	colStoredForm
	numColumns
)

// Leaf columns of a file with typed columns, behind the others.
const (
	colBodyError  = numColumns
	colFirstTyped = numColumns + 1
)

// Names of the body encodings that a client may have used.
const (
	encodingZlib = "zlib"
	encodingLZ4  = "lz4"
	encodingZstd = "zstd"
)

// Kinds of the stored_form column; it is null for nearly every message. The
// first byte is the kind.
const (
	// formOpenEnd: the stored properties lack the separator after the last
	// pair. Nothing follows.
	formOpenEnd = 1
	// formWhole: the typed columns can't give the record back; its bytes
	// before the body's length follow, then those after the body.
	formWhole = 2
)

// Times that a column holds: the years 1 to 9999, which every engine knows. A
// producer may claim any other time; the column then has the nearest one, and
// stored_form the true one.
const (
	minMillis = -62_135_596_800_000
	maxMillis = 253_402_300_799_999
)

// codec is the compression of every page: zstd, level 1. parquet-go's LZ4
// can't be read back by parquet-go, so it must never be set here.
var codec = &zstd.Codec{Level: zstd.SpeedFastest, Concurrency: 1}

// schema is the Parquet schema of a data file without typed columns.
var schema = parquet.NewSchema("message", newRoot(nil))

// root is a group that keeps its fields in the given order; parquet.Group
// sorts them by name.
type root struct {
	parquet.Group
	fields []parquet.Field
}

func (r *root) Fields() []parquet.Field { return r.fields }

// newRoot is the schema's root. Typed columns, where there are any, stand behind
// the row's own and what was wrong with the body.
func newRoot(columns []typed.Field) parquet.Node {
	r := &root{Group: parquet.Group{}}
	var order []string
	add := func(id int, name string, n parquet.Node) {
		r.Group[name] = parquet.FieldID(n, id)
		order = append(order, name)
	}
	dict := func(n parquet.Node) parquet.Node { return parquet.Encoded(n, &parquet.RLEDictionary) }
	delta := func(n parquet.Node) parquet.Node { return parquet.Encoded(n, &parquet.DeltaBinaryPacked) }
	plain := func(n parquet.Node) parquet.Node { return parquet.Encoded(n, &parquet.Plain) }
	i32 := func() parquet.Node { return delta(parquet.Leaf(parquet.Int32Type)) }
	i64 := func() parquet.Node { return delta(parquet.Leaf(parquet.Int64Type)) }
	micros := func() parquet.Node { return delta(parquet.Timestamp(parquet.Microsecond)) }

	add(idBroker, "broker", dict(parquet.String()))
	add(idQueueID, "queue_id", i32())
	add(idQueueOffset, "queue_offset", i64())
	add(idStoreTime, "store_time", micros())
	add(idBornTime, "born_time", micros())
	add(idMsgID, "msg_id", plain(parquet.String()))
	add(idKeys, "keys", parquet.List(parquet.FieldID(plain(parquet.String()), idKeysElement)))
	add(idTag, "tag", parquet.Optional(dict(parquet.String())))
	add(idProperties, "properties", parquet.Map(
		parquet.FieldID(dict(parquet.String()), idPropertiesKey),
		parquet.FieldID(plain(parquet.String()), idPropertiesValue)))
	add(idBody, "body", plain(parquet.Leaf(parquet.ByteArrayType)))
	add(idReconsumeTimes, "reconsume_times", i32())
	add(idSysFlag, "sys_flag", i32())
	add(idFlag, "flag", i32())
	add(idBodyCRC, "body_crc", plain(parquet.Leaf(parquet.Int32Type)))
	add(idBornHost, "born_host", dict(parquet.String()))
	add(idStoreHost, "store_host", dict(parquet.String()))
	add(idPhysicalOffset, "physical_offset", i64())
	add(idPreparedOffset, "prepared_transaction_offset", i64())
	add(idBodyEncoding, "body_encoding", parquet.Optional(dict(parquet.String())))
	add(idErasedHash, "erased_hash", parquet.Optional(plain(parquet.Leaf(parquet.FixedLenByteArrayType(32)))))
	add(idStoredForm, "stored_form", parquet.Optional(
		parquet.Encoded(parquet.Leaf(parquet.ByteArrayType), &parquet.DeltaLengthByteArray)))
	if len(columns) > 0 {
		add(idBodyError, bodyError, parquet.Optional(dict(parquet.String())))
	}
	for _, c := range columns {
		add(c.ID, c.Name, parquet.Optional(typedNode(c.Type)))
	}
	return r.inOrder(order)
}

// inOrder fixes the order of a group's fields.
func (r *root) inOrder(order []string) *root {
	byName := map[string]parquet.Field{}
	for _, f := range r.Group.Fields() {
		byName[f.Name()] = f
	}
	for _, name := range order {
		r.fields = append(r.fields, byName[name])
	}
	return r
}

func micros(millis int64) int64 {
	return min(max(millis, minMillis), maxMillis) * 1000
}

func millis(micros int64) int64 { return micros / 1000 }

func leafPaths() [][]string { return slices.Clone(schema.Columns()) }
