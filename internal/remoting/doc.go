// Package remoting speaks RocketMQ's remoting protocol: frames, both header
// serializers, the connection loop of a server and a client. It knows no
// broker semantics.
//
// A frame is a four-byte length, a four-byte word (serializer in the top
// byte, header length below), the header and the body. A Command is one
// decoded frame. Either side may send requests; a reply carries the opaque
// number of its request and comes in the serializer of the request.
//
// Invariants:
//   - A received Command, its fields and its body alias the connection's read
//     buffer and are valid until the handler returns; Command.Clone makes a
//     copy that lives on.
//   - Replies and pushes are encoded into the connection's out-buffer by the
//     caller and written by one flusher at a time, so whatever gathers while a
//     write is under way leaves with the next one.
//   - A reply's body is the connection's until Command.Free is called, which is
//     after the last byte of it is written; then nothing refers to it.
//   - A connection that doesn't read its replies stops being read from at
//     Config.OutHigh bytes, at fewer where much waits on all connections of the
//     process together, and is closed at Config.OutMax bytes or after
//     Config.WriteTimeout without progress.
//   - A frame of more than 128 KiB takes memory as it arrives, of a budget that
//     all connections of the process share; one that then comes slower than a
//     MiB in Config.StepTimeout ends its connection.
//   - Whether a connection is TLS is told by its first byte, before anything of
//     it is handled; a plain one is read and written without a layer between.
//   - A frame whose boundary is known never costs the connection: it is
//     answered with an error and skipped.
//
// Locks: Conn.out.mu and Conn.calls.mu are leaves; neither is held while
// another is taken or a handler runs.
package remoting
