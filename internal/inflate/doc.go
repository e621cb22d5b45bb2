// Package inflate undoes what remoting clients compress: the bodies of stored
// messages, as the message's system flag says.
//
// Invariant: no body becomes longer than the caller's limit, whatever its
// compressed length.
package inflate
