// Package index holds the hot log's indexes. docs/format/index.md draws them.
//
// DB is the queue index and the store's small state, in Pebble: for each queue
// blocks of 512 entries (position, size, tag hash, store time), to which each
// checkpoint merges what came since, and the checkpoint's position in the same
// batch. Pebble's own log is off: what a crash takes back is a suffix of whole
// batches, and the log is scanned again from the checkpoint that is left.
//
// KeyFile is the key index of one segment: sorted blocks of (hash, position)
// in a file beside it. A hit is a hint; the record itself decides.
//
// Invariants:
//   - A batch (Update) is kept or lost as a whole, and none before it is lost
//     while it is kept.
//   - A queue's uid is never used again, so entries left of a deleted queue
//     can't be taken for another's.
package index
