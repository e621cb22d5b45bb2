// Package retention decides what is kept: a Policy is a list of rules by
// tenant, topic and queue, each with bounds by age, bytes and messages for the
// archive and for the hot log, and of quotas for tenants. Holds and leases
// stand above both.
//
// Everything here is pure: the clock is an argument, nothing is read or
// deleted. history applies the archive's part, internal/app hands the hot
// log's part to hot.
//
// Invariants:
//   - For a queue and a tier exactly one rule decides, or none: the most
//     specific that says something about the tier. Without one all is kept.
//   - A cut is a prefix of the queue's files, so a queue's offsets stay one
//     range.
//   - A bound in bytes or messages is what is kept at least: a file goes only
//     where the newer ones alone reach the bound. The newest file of a queue
//     never goes by bytes, messages or a quota.
//   - No file that a hold covers goes, and none that a lease wants while the
//     lease is within its bound. What is explained is what is done: both are one
//     Plan.
//
// The written form is docs/format/retention.md.
package retention
