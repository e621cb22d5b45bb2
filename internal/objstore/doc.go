// Package objstore is the seam to object storage: one Bucket interface with a
// local directory (fs), S3 (s3) and memory (mem) behind it.
//
// Invariants:
//   - An object that was put with IfAbsent is never overwritten by another
//     IfAbsent Put; the archive's commits rest on that alone.
//   - Probe refuses a store that ignores the condition.
package objstore
