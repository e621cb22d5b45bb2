// Package pop keeps what POP consumers have in flight.
//
// A Window is one consumer group in one queue. Everything below its base is
// done; from the base up to next messages were given out, and each is live
// (given out, with a deadline), moving (on its way to the group's retry topic),
// moved, or done (acked). The base is the group's progress, in broker/offset.
// Messages that a filter refuses take no room, and neither does what is done:
// its entries are dropped, at the front and between the others, so that a window
// goes on behind a message that is out for long and is as large as what is in
// flight.
//
// When a live message's deadline has passed it is copied to the retry topic, or
// to the dead letter topic after the last try, in one unit of the log with a
// done record that names it. One that was given out in order stays: its queue
// may then give it out again.
//
// What a crash may cost: acks since the last save (SaveEvery), so that their
// messages are delivered again. Nothing is lost, and what was copied to the
// retry topic is not given out from its old place too: before a message is
// copied, the meta store durably knows that it was given out; and the queue of
// done records is followed to its end before anything is given out.
//
// Invariants:
//   - A Window's entries are in the order of their offsets, and all are below
//     next.
//   - The base never moves past a moved message before the log has synced its
//     copy, so the meta store never knows more than the log.
//   - The saved position in the queue of done records is below every record
//     that the saved windows don't reflect; the log is held from there on.
//   - An ack costs no write and no allocation: windows that changed are saved
//     together, later.
//
// Lock order: Store.saving, Window, then Store.mu or group.mu. A Window's lock
// is held while Options.Commit runs, and by who gives out messages, while the
// log is read. Options.Wake is called with no lock but Store.saving: it must not
// wait for a save.
package pop
