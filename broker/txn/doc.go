// Package txn holds transaction messages until their producer says what became
// of its own transaction.
//
// A transaction message is stored twice. First as a half message, in a topic
// that nobody consumes (Prepare), with its real topic and queue as properties.
// When it is committed (End), the real message goes to the log in one unit
// with an end record that names the half; a rollback is the end record alone.
// While neither comes, a producer of the group is asked what became of it
// (Options.Ask), at intervals, and after the last question the half is given
// up: put aside, listed, to be restored or ended by hand (Restore).
//
// The Store follows the half messages and the end records in the log. What is
// still open after a moment is copied to the meta store, outside the log's age;
// most transactions end sooner and never get there.
//
// Exactly once, whatever is killed when: the log decides. Real message and end
// record are one unit, so both are in the log or neither is. Both queues are
// saved up to one common position of the log, which the log has synced, so the
// meta store never knows an end without its half, or more than the log. At the
// start the queues are followed to their end before anything is ended or asked:
// what was ended has its end record there.
//
// Invariants:
//   - A half that is open, and only such a one, can be ended; the first to say
//     so has it (state ending) until the log has answered.
//   - Every half below the saved position is in the meta store, unless its end
//     record is below the saved position too.
//   - A half stays in Store.halves until its end record is saved: until then a
//     second end of it is recognised.
//   - The log is held from the lowest record on that the meta store doesn't
//     durably have.
//   - How often a producer was asked is saved with the next save: a crash may
//     ask once more, never less.
//
// One goroutine, Run, follows, saves and asks. mu guards what it shares with
// End, List and Restore; it is a leaf, never held during a call into the log,
// the meta store or a client.
package txn
