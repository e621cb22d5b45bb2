// Package http is the broker's front for the SDKs of the aliyunmq HTTP
// protocol: one resource, /topics/TOPIC/messages, to which a producer posts a
// message as XML, from which a consumer gets messages, and at which it deletes
// the handles of those that it has consumed. One request a file; message_in.go
// and message_out.go turn messages into the core's and back.
//
// The protocol keeps no state between requests but one: a producer that looks
// for half messages to check is a client of the core for as long as it goes on
// looking (questions.go).
//
// Invariants:
//   - Every answer has a request id, in the header's spelling that SDKs look for.
//   - An answer is XML of which every text is XML, whatever bytes are stored.
//   - What a consumer was given and can't have got is given to others soon.
package http
