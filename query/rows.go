package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"varve/query/wire"
)

// Stats tell what a query read.
type Stats struct {
	Waited       time.Duration // for a place among the running queries
	Elapsed      time.Duration // from the call to the last row
	ArchiveFiles int64
	ArchiveBytes int64 // of those files
	ArchiveRows  int64 // in those files
	HotRows      int64 // from the hot log
	HotBytes     int64
	Rows         int64 // of the result
}

// Rows is the result of a query while it is read. It is not safe for
// concurrent use.
type Rows struct {
	q         *run
	cols      []Column
	row       []Value
	fixed     [][]Value // a result that no worker made
	truncated string
	stats     Stats
	err       error
	ended     bool
}

// Columns describes the values of each row.
func (r *Rows) Columns() []Column { return r.cols }

// Next moves to the next row; false at the end and on an error.
func (r *Rows) Next() bool {
	if r.ended {
		return false
	}
	if r.fixed != nil || r.q.proc == nil {
		return r.nextFixed()
	}
	line, err := r.q.proc.line()
	if err != nil {
		return r.end(err)
	}
	if line[0] == '[' {
		if r.row, err = split(r.row[:0], line, len(r.cols)); err != nil {
			return r.end(err)
		}
		r.q.stats.Rows++
		return true
	}
	reply, err := decodeReply(line)
	switch {
	case err != nil:
		return r.end(err)
	case reply.Done == nil:
		return r.end(errors.New("the query's worker answered out of turn"))
	}
	r.truncated = reply.Done.Truncated
	return r.end(nil)
}

func (r *Rows) nextFixed() bool {
	if len(r.fixed) == 0 {
		return r.end(nil)
	}
	r.row, r.fixed = r.fixed[0], r.fixed[1:]
	r.q.stats.Rows++
	return true
}

func (r *Rows) end(err error) bool {
	r.ended = true
	if err != nil {
		r.err = r.q.explain(err)
	}
	r.q.stats.Elapsed = time.Since(r.q.began)
	r.stats = r.q.stats
	r.q.close()
	st := r.stats
	r.q.e.cfg.Logger.Info("query", "tenant", r.q.req.Tenant, "elapsed", st.Elapsed, "rows", st.Rows,
		"archive_files", st.ArchiveFiles, "archive_bytes", st.ArchiveBytes, "hot_rows", st.HotRows, "truncated", r.truncated != "", "error", r.err)
	return false
}

// Row is the current row. It is valid until the next call of Next.
func (r *Rows) Row() []Value { return r.row }

// Err is why Next ended early, nil where the result is complete or truncated
// by a limit.
func (r *Rows) Err() error { return r.err }

// Truncated says, once Next has returned false, which limit left rows out; it
// is empty where none did. Users must be told.
func (r *Rows) Truncated() string { return r.truncated }

// Stats is complete once Next has returned false.
func (r *Rows) Stats() Stats {
	if r.ended {
		return r.stats
	}
	return r.q.stats
}

// Close ends the query; what was not read yet is lost.
func (r *Rows) Close() error {
	if !r.ended {
		r.ended = true
		r.stats = r.q.stats
		r.q.close()
	}
	return nil
}

// split cuts a row's line into its values without decoding them.
func split(dst []Value, line []byte, n int) ([]Value, error) {
	b := bytes.TrimSuffix(bytes.TrimPrefix(line, []byte("[")), []byte("]"))
	for len(b) > 0 {
		end := valueEnd(b)
		dst = append(dst, Value(b[:end:end]))
		if end == len(b) {
			break
		}
		b = b[end+1:]
	}
	if len(dst) != n {
		return nil, fmt.Errorf("the query's worker sent a row of %d values for %d columns", len(dst), n)
	}
	return dst, nil
}

// valueEnd is the length of the JSON value that b starts with. The worker's
// rows have no white space between values.
func valueEnd(b []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case c == ',' && depth == 0:
			return i
		}
	}
	return len(b)
}

func decodeReply(line []byte) (wire.Reply, error) {
	var r wire.Reply
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("reading the answer of the query's worker: %w", err)
	}
	if r.Error != nil {
		return r, r.Error
	}
	return r, nil
}
