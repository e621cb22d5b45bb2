// Package retention decides what is kept: a Policy is a list of rules by
// tenant, topic and queue, each with bounds by age and bytes for the archive
// and for the hot log.
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
//   - A bound in bytes is what is kept at least: a file goes only where the
//     newer ones alone reach the bound. The newest file of a queue never goes
//     by bytes.
//
// The written form is docs/format/retention.md.
package retention
