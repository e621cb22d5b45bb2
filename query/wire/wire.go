package wire

import "encoding/json"

// Hello begins a query.
type Hello struct {
	SQL    string `json:"sql"`
	Tenant string `json:"tenant"` // schema of names without one
	Dir    string `json:"dir"`    // where to spill: DuckDB reads and writes there
	Limits Limits `json:"limits"`
}

// Limits bound a worker.
type Limits struct {
	MemoryBytes int64 `json:"memory"`      // DuckDB's limit; spills above it
	HardBytes   int64 `json:"hard_memory"` // the kernel's, on top of what the process needs to exist
	SpillBytes  int64 `json:"spill"`       // in Hello.Dir
	CPUSeconds  int64 `json:"cpu_seconds"`
	Threads     int   `json:"threads"`
	MaxRows     int64 `json:"max_rows"`
	MaxBytes    int64 `json:"max_bytes"` // of encoded rows
}

// Reply is one line from the worker; exactly one field is set.
type Reply struct {
	Analysis *Analysis `json:"analysis,omitempty"`
	Columns  []Column  `json:"columns,omitempty"`
	Done     *Done     `json:"done,omitempty"`
	Error    *Error    `json:"error,omitempty"`
}

// Analysis is what the worker found in the SQL without running it.
type Analysis struct {
	// ShowTables says that the query is SHOW TABLES; the engine answers it
	// and the worker's part is over.
	ShowTables bool       `json:"show_tables,omitempty"`
	Tables     []TableRef `json:"tables,omitempty"`
}

// TableRef is one table of the query. A table named twice is one TableRef with
// the hull of both bounds.
type TableRef struct {
	Schema   string `json:"schema,omitempty"` // as written, "" for the tenant's
	Name     string `json:"name"`             // as written
	Position int    `json:"position"`         // byte in the SQL where it stands
	Bounds   Bounds `json:"bounds"`
	// Columns are those of the files that the query can read; nil is all.
	Columns []string `json:"columns"`
	// Words are what else in the query may be a column's name, in lower case.
	Words []string `json:"words,omitempty"`
}

// Tables answers an Analysis, in its order.
type Tables struct {
	Tables []Table `json:"tables"`
}

// Table gives a table's rows: local Parquet files.
type Table struct {
	Topic string `json:"topic"`
	// Typed are the columns that are made of bodies; empty for none.
	Typed []Column `json:"typed,omitempty"`
	Parts []Part   `json:"parts,omitempty"`
	// Deletions says that it is the table of what retention removed: its files are
	// lines of JSON, a Deletion each.
	Deletions bool `json:"deletions,omitempty"`
}

// Part is files of the same columns.
type Part struct {
	Files []string `json:"files"`
	// Typed are SQL expressions over the files' columns, one for each typed column
	// of the table.
	Typed []string `json:"typed,omitempty"`
}

// Deletion is a row of the table of what retention removed: a file.
type Deletion struct {
	At             int64  `json:"deleted_at"` // ms, as all times
	Topic          string `json:"topic"`
	Broker         string `json:"broker"`
	QueueID        int32  `json:"queue_id"`
	FromOffset     int64  `json:"from_offset"`
	ToOffset       int64  `json:"to_offset"` // not in it
	Messages       int64  `json:"messages"`
	Bytes          int64  `json:"bytes"`
	FirstStoreTime int64  `json:"first_store_time"`
	LastStoreTime  int64  `json:"last_store_time"`
	Rule           string `json:"rule"`
	Cause          string `json:"cause"`
	File           string `json:"file"`
	Record         string `json:"record"`
	Digest         string `json:"digest,omitempty"`
	SignedBy       string `json:"signed_by,omitempty"`  // id of the key
	RemovedAt      int64  `json:"removed_at,omitempty"` // its object
}

// Column is one column of the result.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"` // DuckDB's name of the type
}

// Done ends the rows.
type Done struct {
	Rows int64 `json:"rows"`
	// Truncated says by which limit rows were left out, "" where none were.
	Truncated string `json:"truncated,omitempty"`
}

// Kind classes an error by whose it is and what to do.
type Kind string

const (
	Syntax       Kind = "syntax"        // not SQL
	Invalid      Kind = "invalid"       // SQL that doesn't fit the data: unknown column, wrong type, bad cast
	UnknownTable Kind = "unknown_table" // no such topic
	Refused      Kind = "refused"       // not allowed here
	Memory       Kind = "memory"        // needs more memory or spill than the limit
	TooLarge     Kind = "too_large"     // would read more than the limit
	Timeout      Kind = "timeout"       // ran longer than the limit
	Busy         Kind = "busy"          // no place among the running queries
	Crashed      Kind = "crashed"       // the worker died
	Storage      Kind = "storage"       // the archive or the log could not be read
	Unavailable  Kind = "unavailable"   // the archive can't be asked now; it passes
	Internal     Kind = "internal"      // our own fault
)

// Error is a failed query.
type Error struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"`
	// Position is the byte of the SQL where the error is, counted from 1; 0
	// where there is none.
	Position int `json:"position,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Value is one value of a row as JSON. Numbers have all their digits, also
// those that a reader of JSON might round; NaN and the infinities, dates, times
// and intervals are strings, binary data is base64, maps and structs are
// objects.
type Value json.RawMessage

// IsNull reports whether the value is NULL.
func (v Value) IsNull() bool { return string(v) == "null" }

// Text is the value as a table shows it: strings without quotes.
func (v Value) Text() string {
	if len(v) > 0 && v[0] == '"' {
		var s string
		if json.Unmarshal(v, &s) == nil {
			return s
		}
	}
	if v.IsNull() {
		return "NULL"
	}
	return string(v)
}

// MarshalJSON gives the value itself.
func (v Value) MarshalJSON() ([]byte, error) { return v, nil }
