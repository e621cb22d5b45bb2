package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"varve/query/wire"
)

// Exit codes of Main.
const (
	exitOK       = 0
	exitBroken   = 1 // the engine went away or doesn't speak the protocol
	maxHelloLine = 64 << 20
)

// Main runs one query as told over in and answers over out; see package wire.
// It returns the process's exit code. It limits the whole process and is
// meant to be all that the process does.
func Main(in io.Reader, out io.Writer) int {
	w := &output{buf: bufio.NewWriterSize(out, 1<<16)}
	lines := readLines(in)
	first, ok := <-lines
	if !ok {
		return exitBroken
	}
	var hello wire.Hello
	if err := json.Unmarshal(first, &hello); err != nil {
		return exitBroken
	}
	if err := limit(hello.Limits); err != nil {
		w.reply(wire.Reply{Error: &wire.Error{Kind: wire.Internal, Message: "limiting the query's process: " + err.Error()}})
		return exitBroken
	}
	debug.SetMemoryLimit(goMemory)
	err := run(context.Background(), hello, lines, w)
	if err != nil {
		w.reply(wire.Reply{Error: asError(err)})
	}
	if w.err != nil {
		return exitBroken
	}
	return exitOK
}

// goMemory is how much the Go side should use: rows on their way out.
const goMemory = 256 << 20

// readLines reads in until it closes, and then ends the process: the engine is
// gone or wants the query stopped, wherever it is.
func readLines(in io.Reader) <-chan []byte {
	lines := make(chan []byte)
	go func() {
		s := bufio.NewScanner(in)
		s.Buffer(nil, maxHelloLine)
		for s.Scan() {
			lines <- append([]byte(nil), s.Bytes()...)
		}
		os.Exit(exitBroken)
	}()
	return lines
}

// run is the query from the first line to the last row.
func run(ctx context.Context, hello wire.Hello, lines <-chan []byte, w *output) error {
	s, err := openSession(ctx, hello)
	if err != nil {
		return err
	}
	defer s.close()
	a, err := s.analyse(ctx)
	if err != nil {
		return err
	}
	w.reply(wire.Reply{Analysis: &a.Analysis})
	if a.ShowTables || w.err != nil {
		return nil
	}
	var tables wire.Tables
	if err := json.Unmarshal(<-lines, &tables); err != nil {
		return errors.New("reading the query's tables: " + err.Error())
	}
	if len(tables.Tables) != len(a.Tables) {
		return errors.New("the query's tables don't match its analysis")
	}
	if err := s.mount(ctx, a.Tables, tables.Tables); err != nil {
		return err
	}
	return s.query(ctx, w)
}

// asError makes a readable error of whatever went wrong. DuckDB's errors are
// sentences with the place in the SQL below them; they only lose advice about
// settings that nobody can change here.
func asError(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		return e
	}
	msg := err.Error()
	kind := wire.Invalid
	switch {
	case strings.HasPrefix(msg, "Out of Memory Error"):
		kind = wire.Memory
		what := "memory"
		if strings.Contains(msg, "max_temp_directory_size") {
			what = "space to spill to disk"
		}
		msg = "the query needs more " + what + " than its limit; select fewer columns or rows, or aggregate less finely"
	case strings.HasPrefix(msg, "Parser Error"):
		kind = wire.Syntax
	case strings.HasPrefix(msg, "IO Error"), strings.HasPrefix(msg, "Invalid Input Error: No magic bytes"),
		strings.Contains(msg, "TProtocolException"), strings.Contains(msg, "Variable-length int over"): // a damaged header
		kind = wire.Storage
	case strings.HasPrefix(msg, "INTERNAL Error"), strings.HasPrefix(msg, "FATAL Error"):
		kind = wire.Internal
	case strings.HasPrefix(msg, "Permission Error"):
		kind = wire.Refused
	}
	msg, _, _ = strings.Cut(msg, "\n\nPossible solutions")
	return &wire.Error{Kind: kind, Message: reworded(msg)}
}

// output writes replies and rows as lines and remembers the first failure.
type output struct {
	buf *bufio.Writer
	err error
}

func (o *output) reply(r wire.Reply) {
	b, err := json.Marshal(r)
	if err != nil {
		o.err = errors.Join(o.err, err)
		return
	}
	o.line(b)
	if err := o.buf.Flush(); err != nil && o.err == nil {
		o.err = err
	}
}

// row writes one row.
func (o *output) row(line []byte) error {
	o.line(line)
	return o.err
}

// result writes a result whose rows are lines already.
func (o *output) result(cols []wire.Column, lines []byte, done wire.Done) error {
	o.reply(wire.Reply{Columns: cols})
	if o.err == nil {
		_, o.err = o.buf.Write(lines)
	}
	o.reply(wire.Reply{Done: &done})
	return o.err
}

func (o *output) line(b []byte) {
	if o.err != nil {
		return
	}
	if _, o.err = o.buf.Write(b); o.err == nil {
		o.err = o.buf.WriteByte('\n')
	}
}
