// Package fronttest is what the tests of the fronts share: it reads the requests
// of real clients in their testdata, one JSON value a line and one file a
// client, that `make golden` writes.
package fronttest
