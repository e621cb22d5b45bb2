// Package sha256pair hashes many messages with SHA-256, two at a time.
//
// One SHA-256 is a chain in which every step waits for the one before. The SHA
// instructions of amd64 take a new one every other clock and need four for each,
// so a processor that hashes one message does nothing for half of the time. Here
// the steps of two messages take turns: both are through in nearly the time of
// one. Messages may be of any length; as soon as one is through the next takes
// its lane.
//
// On other processors, and where a program is held to the FIPS module, it is
// crypto/sha256 one after the other. The hashes are the same everywhere.
package sha256pair
