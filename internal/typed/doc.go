// Package typed makes columns of bodies: it parses the schema that a topic
// declares (JSON Schema, Avro, Protobuf), says which columns it has and how
// they may change, and takes a body apart into column values, or says why it
// doesn't fit. It knows neither files nor tables.
//
// A Topic is the numbered schema versions of one topic. Its Layout has the
// columns of the newest version; a Decoder of the layout appends bodies to Rows,
// column by column, in the repetition and definition levels of Parquet.
//
// Invariants:
//   - A field keeps its id for as long as the topic lives, and no id is given
//     twice.
//   - A change of a field follows Iceberg's rules, or is refused by its name.
//   - Every column is optional, and a body either fills all of its columns or
//     none of them: then there is a reason.
//   - No body makes a decoder panic, run without bound, or take more than a
//     fixed multiple of its length.
//
// A Topic and a Layout are never changed and may be shared. A Decoder and its
// Rows belong to one goroutine.
package typed
