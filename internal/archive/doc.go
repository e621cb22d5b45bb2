// Package archive is the format of history: one Iceberg table a topic whose
// data files are queue-level Parquet, laid out so that the same files serve
// cold reads, SQL and other engines. It is the only package that knows Parquet
// and Iceberg.
//
// An Archive is a bucket of tables; until its bucket was reached (Connect) it
// refuses everything with ErrUnavailable. A Table commits files and follows its own
// metadata; its Index plans reads in memory. A FileWriter makes a data file of
// stored records, a File reads one, and a Reader joins them into an mq.Reader
// and mq.Finder. docs/format/archive.md describes every byte.
//
// Invariants:
//   - A commit is the creation of metadata/v<N>.metadata.json, put if absent.
//     Nothing else decides what a table holds.
//   - For each queue the committed files are in order without an overlap, and
//     without a gap that was not declared (Commit.Gaps); Snapshot.Next is where
//     the next file must begin.
//   - What Append calls committed, a new process finds: every metadata object
//     was read back from the store before.
//   - A commit of an epoch below the broker group's fence is refused, however
//     it raced.
//   - A record read back is byte-identical to the one written, but for bodies
//     that a client compressed: those come back inflated, with the compression
//     bits cleared and the checksum of what is served.
//   - Column ids never change their meaning (see schema.go).
//
// Locks, in order: tableSlot.turn, Table.turn, Table.mu, Index.mu; Archive.mu,
// Reader.mu, cursors.mu and gate.mu are held alone. Only tableSlot.turn (while a
// table is opened, created or dropped), Table.turn and gate.connecting are held
// during I/O on the bucket; nobody waits for a turn while the bucket is away.
package archive
