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
//   - Only what the log itself says was dropped unarchived, because the user's
//     policy let it, is stepped over. An offset below the archived mark that
//     cold does not have is ErrBehind; any other that is on neither side is
//     ErrHole. Both are errors to try again after, never "out of range".
//   - While the archive doesn't answer, what is hot is read; where the queue
//     begins is then an error, and never the hot start.
//   - Where the hot log is damaged below the archived mark, cold stands in.
//
// The package's one lock, standIns.mu, is held for a look at a map.
package tier
