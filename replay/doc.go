// Package replay reads a stretch of the past and sends it somewhere again:
// into a topic, as a job that survives restarts, or as NDJSON to a writer.
//
// A job is fixed when it starts: which offsets of which queues, and which
// queue of the destination each goes to. One task a queue then reads, filters,
// paces and publishes, several queues at a time, one batch in flight each.
//
// Each message goes out once, whatever stops the process. It carries the job,
// its source queue and its source offset as properties. A queue's progress is
// kept with a position of the destination that all later messages lie behind;
// a task that begins, or that saw a publish fail, first looks through the
// destination from there for what is already written.
//
// Invariants:
//   - A queue's messages are published in offset order, by one task, and the
//     next batch only after the outcome of the one before is known. What is
//     written is therefore always a prefix of what is to be written.
//   - A queue's Next and Scan change together: every message of the job and
//     queue at or above Next is in the destination at or above Scan, or not
//     at all.
//   - A checkpoint is stored only after everything it counts as done is
//     durable in the destination.
//   - A destination that was deleted, made again or not, after a job began to
//     write there is never taken for the one it was: the job fails.
//   - Memory is bounded by Config.Parallel batches a running job and
//     Config.MaxRunning jobs, and by Config.StreamBytes a stream.
//
// Lock order: entry.storing, then Service.mu. No I/O is done under Service.mu
// but in Start, where a job's first record is written.
package replay
