// Package filter decides which messages a subscription wants: by tag, or by an
// SQL92 expression over the properties.
//
// A tag filter first compares Java's hash of the tag, which the queue index
// has, and then the tag itself, so that a collision never passes.
//
// Invariant: a filter is immutable and may be used concurrently, so all pulls
// of a group share one. Cache.mu is a leaf.
package filter
