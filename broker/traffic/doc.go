// Package traffic counts what passes through the broker, by topic and by
// group, over the last minute, hour and day.
//
// Adding is one look into a map and three atomic additions. Once in a while
// Tick notes the counts that have moved, so that a later View can tell how
// much of them fell into a window. Counts begin at zero with the process.
//
// Locks: Table.mu and series.mu are leaves, never held together.
package traffic
