// Package golden stands between clients and a server, and keeps a few of each
// client's requests as they stood on the wire: the fronts' tests decode them.
//
// A file has the requests of one client, a line of JSON each. Of requests with
// the same code or RPC and the same fields one is kept, the shortest. What
// comes over TLS isn't looked at.
package golden
