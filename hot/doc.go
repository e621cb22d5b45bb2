// Package hot is the local log of one broker group: an append-only sequence of
// stored records in segment files, with a queue index, a time search and a key
// index beside it.
//
// A position ("physical offset") is a byte's place in the whole log. It is
// never used twice. Segments are contiguous stretches of positions, each with
// a header; a batch is the records of one group commit and the trailer that
// puts every byte of them under a checksum (package segment). Indexes
// (package index) can be rebuilt from the log between the last checkpoint and
// its end, and that is what Open does.
//
// Invariants:
//   - hot start ≤ archived mark ≤ durable ≤ confirmed = hot end, for every
//     archived queue. Tail gives durable records only, so nothing is archived
//     that a power cut could take back.
//   - What the archive's retention removed (SetRemoved) is held until it is
//     trimmed, but Range, Read, OffsetAt and the Finder don't show it.
//   - Queue offsets are dense and positions grow with them; store times never
//     decrease along the log, whatever the clock does.
//   - Nothing is acked, shown to a reader or told to OnArrival before the whole
//     batch is written (FlushSync: and synced).
//   - A batch is valid only at the position that its trailer names, and only
//     if its epoch is not below that of the batch before; that is why stale
//     bytes of a recycled segment or of a cut tail are never taken for data.
//   - After a failed sync the store takes no more appends: what the kernel
//     dropped can't be known.
//   - A lent body (mq.Limit.Lend) is its caller's alone until it gives it back;
//     race builds and tests overwrite it then.
//   - The cache holds only whole blocks of one segment below the confirmed end,
//     which never change. Each record is checked each time it is given out, and
//     one that looks bad in the cache is read from its file before that is said.
//   - A follower that meets a damaged batch goes through it by the queue index
//     (past.go): each record of a live queue is given or named as lost.
//   - A segment's file is reused or removed only when the index that says so is
//     durable and the last reader of the segment is gone.
//
// One goroutine commits at a time and owns the write position and the next
// offsets meanwhile: the committer goroutine, or under FlushAsync a caller of
// Commit. Goroutines: the committer,
// the flusher (syncs, advances durable) and the checkpointer (moves index
// entries from memory to Pebble, writes key blocks). Close ends all three.
//
// Lock order: Store.trimMu, Store.mu (topics), queue.mu; Store.segMu and
// Store.subMu are leaves, and so is blocks.mu, below block.load.
// No lock is held during a file read or write but trimMu, and block.load while
// that block is read.
package hot
