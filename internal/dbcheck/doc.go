// Package dbcheck looks for damage in the logs of a closed Pebble database:
// its write-ahead logs and its manifest. Pebble takes the first chunk there
// that it can't read for the end that a power cut left, and forgets what
// follows. Tables need no such look: each of their blocks is checked when it is
// read.
//
// A chunk that can't be read is damage, and no torn end, where
//   - a later chunk of the same log says that the log was synced beyond it,
//   - in the manifest, of which every edit is synced before the next one is
//     written, a later edit can be read,
//   - or it is whole but for one bit: a write that was cut leaves no such chunk.
//
// What it can't tell from a torn end: more than one bit in what was written
// after the last sync that a later chunk knows of.
//
// Lock-free: nothing is shared.
package dbcheck
