// Package guard looks at remoting requests before any server of the process
// handles them: who sends them, whether that user may, and which namespace
// their names are in. The name server, the broker and the history node share
// it, because they share the protocol's request codes.
//
// What each code needs is one table (table.go). A code that is not in it needs
// to be allowed to change the cluster, so that a new request is closed until
// somebody opens it.
//
// Invariants:
//   - What was checked is what is handled: every field that a handler may take
//     a name from is checked, and a body that was read for names is replaced by
//     what was understood of it.
//   - Names are checked and handled with their namespace. A client of the newer
//     kind, which sends the namespace beside the names, is given the names of
//     the older kind ("namespace%name") here, and nowhere else.
//   - Where access control is off, a connection costs one look at its first
//     request, unless that one has a namespace.
package guard
