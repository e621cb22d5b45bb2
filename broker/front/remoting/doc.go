// Package remoting is the broker's front for RocketMQ's remoting protocol:
// every request code in a file of its own, named by its number, over the core
// in package broker.
//
// A connection's requests are decoded on its reader. Sends are handed to the
// log right there and answered from its committer; pulls and whatever may wait
// for a disk or a bucket run on goroutines of their own, at most
// wire.Config.MaxWorkers for one connection.
//
// A front keeps no state of its own but the sessions: one for each connection,
// which is what the core knows as a Client. Sessions are used by their
// connection's reader only, except for the methods of broker.Client.
package remoting
