// Package fs is an objstore.Bucket in a local directory.
//
// An object is a file. It is written to a temporary file, synced, and then
// linked (create-only) or renamed (overwriting) into place, and the directory
// is synced: a name shows the whole object or nothing, also after a power cut.
// Files are read-only (0444), since objects are replaced, never changed.
//
// Invariants:
//   - Temporary files live in ".tmp" under the root, which no object name can
//     reach; they are removed at the next New once they are a day old.
//   - Two processes may use one directory at the same time.
package fs
