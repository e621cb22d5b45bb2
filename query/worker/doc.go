// Package worker is the process that runs one SQL query: the server's own
// binary, started again for it. It is the only package that imports DuckDB.
//
// A query can only reach what this process was given. The database is fresh
// and in memory; the readable files are exactly those of the query's tables;
// file system, network, extensions and settings are locked before the query
// runs; the kernel bounds memory, processor time and file sizes, and where it
// has Landlock the engine has it refuse writes but to the spill directory.
// DuckDB's own allow-list also permits writing and EXPLAIN ANALYZE runs what it explains,
// so the SQL is parsed first and must be exactly one SELECT that reads tables
// and harmless table functions only.
//
// Invariants:
//   - Before the lock, of the user's text only constant expressions built of a
//     fixed list of functions run, never the query itself.
//   - Everything of one query, the constants that prune its files included,
//     sees one now().
//   - The process ends with its query, and when its standard input closes.
package worker
