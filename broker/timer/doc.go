// Package timer holds messages back until they are due.
//
// A delayed message is appended to the log like any other, but to one of the
// timer's own topics (Level: a delay level's queue; At: the queue of messages
// due at a time of their own), with its real topic and queue as properties.
// The Store follows those queues and keeps an entry (due time, position in the
// log, record) in a bulk store of the meta store, in the order of due times and
// outside the log's age. Memory holds only what the log has not synced yet, what
// is on its way out, and the bulk store's tables in memory: none grows with the
// number of entries, and a start reads none of them. When an entry is due,
// the message is appended to its real topic, in one unit with a done record
// that names the entry; the Store follows the queue of done records too, and
// that is what removes the entry. A recall is a done record without a delivery.
//
// Exactly once, whatever is killed when: the log decides. An entry and the
// position up to which its queue was followed are written in one batch, and
// only when the log has synced that far, so the meta store never knows more
// than the log. Delivery and done record are one unit, so both are in the log
// or neither is. At the start, the queues are followed to their end before
// anything is delivered: what was delivered has its done record there.
//
// Invariants:
//   - Each queue's saved position is at or below the log's durable end.
//   - Every delayed message below a saved position is an entry, unless its
//     done record is below the saved position of the done queue.
//   - The log is held from the lowest record on that the bulk store doesn't
//     durably have: the log is its write-ahead log. A crash takes the bulk store
//     back by whole batches, positions included, and following makes it good.
//   - A recall is answered with a hit only when its done record is confirmed,
//     and an entry is in one unit at a time: it is recalled or delivered.
//   - One goroutine, Run, owns all of Store but what mu guards; mu is a leaf,
//     never held during a call into the log or the meta store.
package timer
