// Package connector lays the hot log down in the archive: one task a broker
// group follows the durable log in physical order, cuts it into segments of
// single queues, writes each as one data file, commits the files of a topic
// together, and moves the archived marks so that the hot log may trim.
//
// Three stages, joined by channels and bounded counts:
//
//	owner   (session.go) takes records off the hot.Tail, stages them by queue,
//	        decides when a segment is rolled and what is committed
//	jobs    (job.go)     encode a segment, upload the file, look that it is there
//	commits (commit.go)  one at a time for each topic, in queue order
//
// Where it stands is in the archive's snapshots alone: a session begins by
// reading them (resume.go), and whatever a session leaves behind without a
// commit (temporary files, uploaded objects) is nobody's data.
//
// Invariants:
//   - A queue's segments are consecutive, but for what the user's policy
//     dropped, which the commit declares; and its files are committed in that
//     order; each record is in exactly one segment of a session.
//   - The archived mark and the physical low-water mark move only after a
//     commit was acknowledged by the archive, and after OnCommit returned.
//   - Staged bytes never exceed Config.MemoryBytes: beyond it the largest
//     segments are rolled, or give up what is staged and are read from the hot
//     log once more when they roll. The hot log is the spill.
//   - Uploaded objects are checked (length and end) before a commit names them.
//   - A topic whose table can't be read is blocked alone, whenever that shows,
//     and goes on by itself when it can. So is a queue of which the log can't
//     give a record any more (lost.go): what precedes it is archived, and the
//     low-water mark stays at it.
//   - A connector that was fenced ends and commits nothing more.
//
// All state of a session belongs to its owner goroutine, but for topic.mu (the
// table that jobs and commits open) and Connector.mu (status, flush requests).
// Both are leaves.
package connector
