// Package s3 is an objstore.Bucket on S3 and stores that speak its protocol,
// over minio-go.
//
// Objects are put with one request (no multipart upload), because every store
// that knows If-None-Match applies it there, and not all do to a multipart
// upload's last request.
//
// Invariants:
//   - A put is sent once: had the client library repeated it, the second
//     attempt could find the first one's object and report ErrExists for it.
//   - Every request has a deadline.
package s3
