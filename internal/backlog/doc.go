// Package backlog counts what clients were given and have not taken yet, so
// that many who don't read have little each.
//
// Invariants:
//   - Nobody waits for another's bytes: below the limit of all a connection may
//     be given anything, above it up to Cramped, as long as it takes that.
//   - The bound isn't strict: who asks is told what there is room for before
//     the answer is known, and an answer has one message at least.
package backlog
