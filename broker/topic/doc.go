// Package topic keeps the topics of one broker: their queue numbers, their
// permissions and their attributes.
//
// Table is the whole of it: a map in memory for the hot path, and one record a
// topic in the meta store. A topic is on disk before any caller can see it, but
// for the ones of KeepIfAbsent on a full disk.
//
// Lock order: Table.mu is a leaf, taken while meta.Settings holds its own: changes
// of topics are serial. Readers take no lock.
package topic
