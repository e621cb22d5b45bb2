// Package fronttest is what the tests of the fronts share: a broker to stand
// before, and the requests of real clients in their testdata, one JSON value a
// line and one file a client, that `make golden` writes.
package fronttest
