// Package offset keeps how far each consumer group has come in each queue.
//
// Progress lives in memory and is written to the meta store by Flush, one
// record for a (group, topic); a crash loses what was committed since, and
// never more. A reset or a deletion is durable before it is in memory: one that is
// refused changes nothing. What a power cut left beyond the end
// of its queue is taken back to the end before anything is served (Clamp).
//
// A reset overrides the consumers that are running: it is the group's progress
// from then on, the next pull of the queue learns of it once (TakeReset), and
// commits that arrive before that pull are dropped, since they were made
// without knowing.
//
// Lock order: flushing, then Table.mu, then progress.mu.
package offset
