// Package faulty is a proxy in front of an S3 server that misbehaves as it is
// told: it is slow, refuses, cuts connections before, in the middle of and
// after a request, and lies about writes. It is what a bucket on a bad day looks
// like to a client; the server behind it stays healthy and is the truth.
package faulty
