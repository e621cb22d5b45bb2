// Package admin is the HTTP API of a Varve process under /api/v1, and its
// client, which the command line uses.
//
// The server decodes and checks a request, calls one of the small interfaces
// of Backend, and encodes the answer; it holds no state. A part that this
// process doesn't run is nil, and its routes answer "role_missing". Every
// error is {"error":{"code","message"}}. Bodies are bounded, and every route
// but the streams has a deadline.
//
// The port asks for no password: it belongs on loopback or a private network.
// To keep web pages of other origins out, a request that changes something
// must not come from a browser of another origin.
package admin
