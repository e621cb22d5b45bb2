package worker

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"varve/query/wire"
)

// session is the DuckDB of one query.
type session struct {
	hello wire.Hello
	db    *sql.DB
	conn  *sql.Conn
}

func openSession(ctx context.Context, hello wire.Hello) (*session, error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return nil, fmt.Errorf("starting DuckDB: %w", err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("starting DuckDB: %w", err)
	}
	s := &session{hello: hello, db: db, conn: conn}
	l := hello.Limits
	return s, s.exec(ctx,
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		"SET allow_community_extensions = false",
		"SET TimeZone = 'UTC'",
		"SET errors_as_json = false",
		"SET preserve_insertion_order = true",
		fmt.Sprintf("SET threads = %d", max(1, l.Threads)),
		fmt.Sprintf("SET memory_limit = '%d bytes'", l.MemoryBytes),
		"SET temp_directory = "+literal(hello.Dir),
		fmt.Sprintf("SET max_temp_directory_size = '%d bytes'", l.SpillBytes),
	)
}

func (s *session) close() {
	s.conn.Close()
	s.db.Close()
}

func (s *session) exec(ctx context.Context, statements ...string) error {
	for _, q := range statements {
		if _, err := s.conn.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return nil
}

// text runs a query that gives one string; ok is false where it is NULL.
func (s *session) text(ctx context.Context, q string) (v string, ok bool, err error) {
	var n sql.NullString
	err = s.conn.QueryRowContext(ctx, q).Scan(&n)
	return n.String, n.Valid, err
}

// mount makes the tables of the query and shuts everything else.
func (s *session) mount(ctx context.Context, refs []wire.TableRef, tables []wire.Table) error {
	var paths []string
	for _, t := range tables {
		for _, p := range t.Parts {
			for _, f := range p.Files {
				paths = append(paths, literal(f))
			}
		}
	}
	if err := s.exec(ctx,
		"SET allowed_paths = ["+strings.Join(paths, ", ")+"]",
		"CREATE SCHEMA IF NOT EXISTS "+identifier(s.hello.Tenant),
		"USE "+identifier(s.hello.Tenant),
	); err != nil {
		return err
	}
	if err := s.exec(ctx, "SET enable_external_access = false", "SET lock_configuration = true"); err != nil {
		return err
	}
	for i, ref := range refs {
		schema := ref.Schema
		if schema == "" {
			schema = s.hello.Tenant
		}
		if err := s.exec(ctx,
			"CREATE SCHEMA IF NOT EXISTS "+identifier(schema),
			"CREATE VIEW "+identifier(schema)+"."+identifier(ref.Name)+" AS "+viewSQL(tables[i]),
		); err != nil {
			msg, _, _ := strings.Cut(errors.Unwrap(err).Error(), "\n\nLINE ")
			return &wire.Error{Kind: wire.Storage, Message: "reading the files of " + tables[i].Topic + ": " + msg}
		}
	}
	return nil
}

// firstRows is how many rows a query is run for at first. DuckDB holds a whole
// result in memory, so a result that is only wanted up to the row limit may be
// more than there is memory for; these rows are shown then.
const (
	firstRows  = 10_000
	firstBytes = 64 << 20
)

// query runs the SQL and writes its rows. The SQL is prepared as it was given,
// for its errors and column names, and run as the inner query of one that
// bounds the rows and turns JSON into its text.
func (s *session) query(ctx context.Context, w *output) error {
	cols, err := s.describe(ctx, s.hello.SQL)
	if err != nil {
		return err
	}
	bounded, err := s.bounded(ctx, cols)
	if err != nil {
		return err
	}
	l := s.hello.Limits
	if l.MaxRows > firstRows {
		var first bytes.Buffer
		keep := func(line []byte) error { first.Write(line); return first.WriteByte('\n') }
		few, err := s.run(ctx, bounded, cols, firstRows, min(firstBytes, l.MaxBytes), nil, keep)
		if err != nil {
			return err
		}
		if few.Truncated == "" {
			return w.result(cols, first.Bytes(), few)
		}
		started := false
		done, err := s.run(ctx, bounded, cols, l.MaxRows, l.MaxBytes, func() { started = true; w.reply(wire.Reply{Columns: cols}) }, w.row)
		if err != nil && !started && asError(err).Kind == wire.Memory {
			few.Truncated = fmt.Sprintf("only the first %d rows are shown: all of them need more memory than the limit of %d bytes", few.Rows, l.MemoryBytes)
			return w.result(cols, first.Bytes(), few)
		}
		if err == nil {
			w.reply(wire.Reply{Done: &done})
		}
		return err
	}
	done, err := s.run(ctx, bounded, cols, l.MaxRows, l.MaxBytes, func() { w.reply(wire.Reply{Columns: cols}) }, w.row)
	if err == nil {
		w.reply(wire.Reply{Done: &done})
	}
	return err
}

// run executes the bounded query for a number of rows and hands on each, as
// JSON. ready is called once the result is there.
func (s *session) run(ctx context.Context, bounded string, cols []wire.Column, maxRows, maxBytes int64, ready func(), row func([]byte) error) (done wire.Done, err error) {
	err = s.conn.Raw(func(c any) error {
		stmt, err := prepare(ctx, c, bounded+strconv.FormatInt(maxRows+1, 10))
		if err != nil {
			return unwrapped(err)
		}
		defer stmt.Close()
		rows, err := stmt.QueryContext(ctx, nil)
		if err != nil {
			return unwrapped(err)
		}
		defer rows.Close()
		if ready != nil {
			ready()
		}
		done, err = copyRows(rows, cols, maxRows, maxBytes, row)
		return err
	})
	return done, err
}

func prepare(ctx context.Context, c any, q string) (*duckdb.Stmt, error) {
	p, ok := c.(driver.ConnPrepareContext)
	if !ok {
		return nil, fmt.Errorf("%T cannot prepare", c)
	}
	ds, err := p.PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	stmt, ok := ds.(*duckdb.Stmt)
	if !ok {
		ds.Close()
		return nil, fmt.Errorf("prepared a %T", ds)
	}
	typ, err := stmt.StatementType()
	if err == nil && typ != duckdb.STATEMENT_TYPE_SELECT {
		err = &wire.Error{Kind: wire.Refused, Message: notSelect}
	}
	if err == nil && stmt.NumInput() > 0 {
		err = &wire.Error{Kind: wire.Refused, Message: "parameters (? or $1) have no values here; write the values into the SQL"}
	}
	if err != nil {
		stmt.Close()
		return nil, err
	}
	return stmt, nil
}

func (s *session) describe(ctx context.Context, q string) (cols []wire.Column, err error) {
	err = s.conn.Raw(func(c any) error {
		stmt, err := prepare(ctx, c, q)
		if err != nil {
			return err
		}
		defer stmt.Close()
		n, err := stmt.ColumnCount()
		if err != nil {
			return err
		}
		for i := range n {
			name, err := stmt.ColumnName(i)
			if err != nil {
				return err
			}
			cols = append(cols, wire.Column{Name: name})
		}
		return nil
	})
	return cols, err
}

// bounded wraps the SQL in a query that ends with LIMIT, for a number to follow,
// and fills in the column types.
func (s *session) bounded(ctx context.Context, cols []wire.Column) (string, error) {
	names := make([]string, len(cols))
	for i := range cols {
		names[i] = "c" + strconv.Itoa(i)
	}
	inner := "(\n" + trimEnd(s.hello.SQL) + "\n) AS q(" + strings.Join(names, ", ") + ")"
	probe := "SELECT * FROM " + inner + " LIMIT 0"
	if err := s.onlySelect(ctx, probe); err != nil {
		return "", err
	}
	rows, err := s.conn.QueryContext(ctx, probe)
	if err != nil {
		return "", unwrapped(err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return "", err
	}
	list := make([]string, len(cols))
	for i, t := range types {
		cols[i].Type = t.DatabaseTypeName()
		list[i] = names[i]
		if textual(cols[i].Type) {
			list[i] = "CAST(" + names[i] + " AS VARCHAR)"
		}
	}
	q := "SELECT " + strings.Join(list, ", ") + " FROM " + inner + " LIMIT "
	return q, s.onlySelect(ctx, q+"0")
}

var errorLine = regexp.MustCompile(`\nLINE (\d+): `)

// unwrapped makes an error's line count from the query as it was given, which
// stands on the second line of the one that ran.
func unwrapped(err error) error {
	msg := err.Error()
	m := errorLine.FindStringSubmatchIndex(msg)
	if m == nil {
		return err
	}
	n, numErr := strconv.Atoi(msg[m[2]:m[3]])
	if numErr != nil || n < 2 {
		return err
	}
	return errors.New(msg[:m[2]] + fmt.Sprintf("%-*d", m[3]-m[2], n-1) + msg[m[3]:])
}

// copyRows encodes the rows until a limit is reached.
func copyRows(rows driver.Rows, cols []wire.Column, maxRows, maxBytes int64, row func([]byte) error) (wire.Done, error) {
	var done wire.Done
	var size int64
	vals := make([]driver.Value, len(cols))
	var line []byte
	for {
		switch err := rows.Next(vals); {
		case errors.Is(err, io.EOF):
			return done, nil
		case err != nil:
			return done, err
		}
		if done.Rows == maxRows {
			done.Truncated = fmt.Sprintf("only the first %d rows are shown: that is the row limit", done.Rows)
			return done, nil
		}
		line = append(line[:0], '[')
		for i, v := range vals {
			if i > 0 {
				line = append(line, ',')
			}
			line = appendValue(line, cols[i].Type, v)
		}
		line = append(line, ']')
		if size += int64(len(line)); size > maxBytes {
			done.Truncated = fmt.Sprintf("only the first %d rows are shown: the result is larger than the limit of %d bytes", done.Rows, maxBytes)
			return done, nil
		}
		if err := row(line); err != nil {
			return done, err
		}
		done.Rows++
	}
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
