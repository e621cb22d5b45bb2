// Package meta keeps small durable state: topics, groups, consumer offsets,
// timers, jobs. It is one Pebble database for the process, cut into named
// tables.
//
// A key in the database is the table's name, a zero byte, and the key in the
// table, so a table is one key range and its keys are in byte order. Values
// are JSON (Put, Get) or bytes that belong to the table's owner (PutRaw,
// GetRaw). docs/format/meta.md lists every table.
//
// Invariants:
//   - A Batch is applied whole or not at all, over all tables, also across a
//     power cut.
//   - A write with sync is on disk when the call returns. One without sync is
//     durable with the next synced write, and survives a crash of the process
//     alone; writes are never reordered.
//
// Bulk is a second database in the same folder, without a log, for values that
// are many or large and whose owner has them elsewhere too.
//
// Settings is a table that is in memory as well, for what every request asks.
//
// Store, Table and Settings are safe for concurrent use, a Batch is not.
// Store.mu guards the bulk databases only.
// Settings.mu is the one lock; it is held while the store is written and while
// SettingsOf.Changed runs.
package meta
