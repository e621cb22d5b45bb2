// Package migrate brings the history of a RocketMQ cluster into an archive, by
// the pull protocol that its consumers use: every message with its broker group,
// queue, offset and position, the topics' and groups' settings, and how far the
// groups have come. A Varve broker of the same name that is restored over the
// archive goes on where the other one ends.
//
// Invariants:
//   - Where an import goes on is what the tables say, and nothing else: it keeps no
//     state of its own.
//   - An import claims a broker group's archive as a data directory does, and
//     commits under an epoch: of two, one is fenced. It never takes the claim of
//     a data directory.
//   - What the cluster doesn't have any more is a declared gap; any other hole is
//     an error.
package migrate
