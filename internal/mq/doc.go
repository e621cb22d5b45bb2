// Package mq is Varve's vocabulary: messages, queues, stored records, and the
// Reader that every tier of storage implements.
//
// A record is a message in RocketMQ's stored form (magic V1), which is also
// the wire form of a pull reply: tiers hand records around as bytes, so that
// nothing is decoded on the way from the log to a client.
//
// The package imports the standard library only and does no I/O.
//
// Invariants:
//   - A queue's offsets are dense: no number is skipped or used twice.
//   - A record's length field counts the whole record, itself included, so
//     a concatenation of records needs no framing.
package mq
