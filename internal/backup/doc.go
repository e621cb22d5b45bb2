// Package backup keeps the small state of a broker group in its archive's
// bucket: snapshots of named sections of keys and values, from which a new
// machine is made when the old one's disk is lost. What the sections mean is
// their owners' matter. The format's page is docs/format/state.md.
//
// Invariants:
//   - A snapshot is its manifest: created once, last, with the digest of every
//     part, so a reader has all of it or knows that it hasn't.
//   - A part's name is the digest of its bytes: what didn't change since the
//     snapshot before is not written again.
//   - Snapshots of one writer are ordered by (generation, sequence); a part that a
//     kept snapshot names is never removed.
package backup
