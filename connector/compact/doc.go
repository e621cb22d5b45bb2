// Package compact puts the small files of a broker group's queues together:
// one file of 128 to 256 MiB in the place of many, with the same rows; and those
// of quiet queues of a day into objects that they share.
//
//	plan.go       which files: pure
//	shareplan.go  which quiet queues share an object: pure
//	merge.go      one merge: fetch, write, check, upload, check again, commit
//	share.go      what is written of quiet queues
//	compact.go    when: one merge at a time, behind the connector, within a rate
//
// Invariants:
//   - A merge changes no row, no offset and no mark: it is one
//     archive.Table.Replace. Readers that planned before go on with the old
//     files, which stay until the sweep of the history role takes them.
//   - It has no state but the table's: killed anywhere, it leaves objects that
//     no table names, and the next run plans anew.
//   - Only files of one queue whose offsets follow each other are merged, or share
//     an object as a section of it, and of one day, so that retention by age stays as fine as a day; and of one
//     version of the topic's schema.
//   - A file that can't be merged is left alone for a while, longer each time.
//   - It gives way: while the connector lags or fails nothing is begun.
//   - Disk and memory are bounded by MaxBytes, whatever the table has.
//
// Locks: turn is held over a merge; mu guards the status and is a leaf.
package compact
