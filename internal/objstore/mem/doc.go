// Package mem is an objstore.Bucket in memory, for tests and for trying
// things out. Nothing in it survives the process.
package mem
