// Package demo shows Varve's main job on real input and checks every claim it
// makes: an embedded server, an unmodified Apache client, and the same HTTP API
// that the command line uses.
//
// The check is a ledger: each message has a number, the ledger knows the digest
// of every one that was sent, and whoever reads messages back (consumer, replay,
// SQL) is held to it: none lost, none doubled, none changed.
package demo
