// Package quota bounds what each tenant sends, reads and connects.
//
// A tenant is the namespace of a topic or group, "default" where there is none.
// The limits of the tenant "*" count for every tenant that has none of its own,
// for each by itself.
//
// Invariants:
//   - Rates are over one second: what a second allows may be used at once. A
//     message or batch that is larger than that is let through alone, and paid
//     for by those after it.
//   - Reads are paid for afterwards, when it is known how much they gave; a
//     tenant in debt reads nothing more.
//   - A connection counts from its first use for a tenant until it ends, whatever
//     protocol it speaks.
//   - Without any limit, asking costs one load.
//
// Locks: Table.mu and bucket.mu are leaves.
package quota
