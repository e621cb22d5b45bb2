// Package segment is the byte format of the hot log: the segment header, the
// batch trailer, and a scanner that tells data from what merely lies in the
// file. docs/format/segment.md draws it.
//
// The package knows bytes and vfs files only: no goroutines, no clock, no
// locks.
//
// Invariants:
//   - A batch that Scanner gives is whole: every byte of it, trailer included,
//     is under a checksum that held, and it lies where its trailer says.
//   - Epochs never fall from batch to batch.
package segment
