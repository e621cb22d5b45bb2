// Package app makes a Varve process out of its parts: it opens what the roles
// need, hands each part what it may not import, runs them, and stops them in
// the reverse order.
//
// A Node is opened, run until its context ends, and then closed by Run itself.
// Opening takes the data directory and every port before any part starts, so
// that a process that can't run changes nothing.
//
// The order of stopping matters: listeners first, then replay and the
// connector, then broker and history, then the log; a part is closed only when
// nothing calls it any more.
package app
