// Package grpc serves a broker by RocketMQ's gRPC v2 protocol, from the stubs
// that the Go client publishes. It holds no messages and no progress: what a
// message means is the broker's business. What it keeps is of its clients: the
// settings that a client sent over its telemetry stream, the stream itself, and
// the handles that are renewed for it.
//
// One file is one call. Every call answers with a status of the protocol; an
// error of gRPC itself is for a broken stream and a deadline.
//
// Invariants:
//   - A client is known by its id (x-mq-client-id) from its first settings until
//     it says goodbye, or has neither a stream nor a heartbeat for clientSilence.
//     When it goes, what it holds of messages is given to others at once.
//   - A receipt handle is stateless: it says all that the broker needs. Only a
//     handle that is renewed stands in a table, and only to find the handle that
//     took its place.
//   - A transaction's id says where its half message lies, so that ending it
//     needs no memory either.
//   - Plaintext and TLS share the port: the first byte tells them apart.
//
// Locks: clients.mu, then client.mu; neither is held while the broker is called.
// renewal.mu is held while its handle is renewed, and taken after none.
package grpc
