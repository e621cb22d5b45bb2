// Package query answers SQL over everything Varve holds: each topic is a
// table, whose rows are the archive's files and the part of the hot log that
// is not archived yet, each offset once.
//
// A query runs in a process of its own (package worker): the engine starts
// it, learns from it which tables the SQL reads and what bounds them, gathers
// the files of those tables, and passes on the rows. The engine itself never
// sees DuckDB, and a query that crashes, hangs or fills its memory costs that
// query only.
//
// Invariants:
//   - A row of a queue comes from the archive below the border taken from the
//     table's index when the query began, and from the hot log at and above
//     it. Where the hot log was trimmed past that border meanwhile, the query
//     begins again with the newer archive.
//   - A query's process, files and directory are gone when its Rows are
//     closed, when its context ends, and at its deadline.
//   - Config.MaxConcurrent processes run at most; others wait.
package query
