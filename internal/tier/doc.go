// Package tier stitches the hot log and the archive into one mq.Reader and
// mq.Finder, so that nobody above has to know which side holds an offset.
//
// Invariants:
//   - The border is the hot start: cold serves below it, hot from there on.
//     One Read takes all its offsets from one side, so each comes exactly once
//     whichever way the border moves between two Reads.
//   - The border only moves up, and only over what cold holds. A Read that
//     hot refuses because its offset was trimmed meanwhile is tried again, on
//     the other side.
//   - Unarchived offsets that the user chose to drop are stepped over: they
//     are below hot's start and at or above the archived mark.
//   - An offset below the archived mark that cold does not know yet is
//     ErrBehind, never stepped over.
//
// The package holds no state and no lock.
package tier
