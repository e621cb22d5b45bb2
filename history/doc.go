// Package history serves the archive: a Node is a broker whose store is the
// archive's files. It reads them through a byte-range cache with read-ahead,
// within budgets; a Server answers RocketMQ clients from it on a port of its
// own; a Client reads a Server of another process as an mq.Reader; a Retainer
// applies the retention policy to the archive's tables.
//
// Invariants:
//   - Objects are immutable, so a cached range never goes stale; what was
//     cached is keyed by the object's name alone.
//   - Memory, disk, requests at a time and bytes a second that cold reads take
//     are bounded by Config, however many readers there are.
//   - Cold reads decode in Config.Reads places, and with pauses while the hot
//     log of the process is written to; so does what is decoded ahead of them.
//   - What was decoded ahead is given out only while its file is in the table.
//   - The Server never answers PULL_OFFSET_MOVED: whatever it does not hold it
//     sends back to broker id 0 with the offset unchanged.
//   - An object is removed only after a grace period since the commit that
//     took its file out of the table, never while this process has it pinned,
//     and only after a record of the deletion is stored.
//   - A reader that asks a Server for more than is known has the table looked at
//     again, at the most once in renewEvery for all of a topic's readers.
//
// Locks: Node.mu, cache.mu, files.mu, readAhead.mu (before cache.mu), runs.mu,
// Server.mu, Client.mu and lane.mu. None is held during I/O but the unlinking of evicted files.
package history
