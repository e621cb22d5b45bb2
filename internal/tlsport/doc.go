// Package tlsport gives ports TLS: the certificate, its own one where the user
// has none, listeners that take TLS and plain connections on one port, and the
// life of an HTTP server on them.
//
// Invariants:
//   - A key that is made here is readable by its owner only and is never
//     replaced: clients that were told to trust the certificate go on to.
//   - A certificate whose files change is used by new connections within
//     seconds, without a restart; where the new files are bad the old one stays.
//   - Accept never waits for a client: a connection finds out what it is when it
//     is first read or written.
package tlsport
