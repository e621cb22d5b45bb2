// Package wire is a remoting client for loads: it writes the frames that the
// Java client writes (JSON headers, SEND_MESSAGE_V2) and little else, so that on
// shared cores the load generator takes as little as it can and the same from
// every broker. The benchmark measures with it, the bucket checks of the interop
// run count with it.
package wire
