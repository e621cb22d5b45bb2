// Package wire is what the query engine and its worker process say to each
// other: JSON lines over the worker's standard input and output.
//
//	engine → worker  Hello      the SQL and the limits
//	worker → engine  Analysis   the tables it reads, with what bounds them
//	engine → worker  Tables     the files of each table
//	worker → engine  Columns, then one line a row, then Done
//
// A row is a JSON array and starts with '['; every other line of the worker is
// a Reply, an object. An Error may come instead of any reply and is the last.
// The engine closes the worker's standard input to stop it.
package wire
