package connector

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// output is where a file is written before it is uploaded: memory as long as
// there is room, else a temporary file. It is written by one goroutine, then
// read.
type output struct {
	dir    string
	room   *room
	chunks [][]byte // each of outputChunk bytes but the last; nil once disk is used
	disk   *os.File
	size   int64
}

// room is what the outputs of a session may take in memory together, in
// bytes. What is given back isn't used again: an upload that was given up may
// still be read from.
type room struct{ left atomic.Int64 }

// take gives an empty chunk, nil where there is no room for one. It grows to its
// size from a smaller one: many files are short.
func (r *room) take(size int) []byte {
	if r.left.Add(-outputChunk) < 0 {
		r.left.Add(outputChunk)
		return nil
	}
	return make([]byte, 0, size)
}

func (r *room) give(chunks int) { r.left.Add(int64(chunks) * outputChunk) }

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 && o.disk == nil {
		last := len(o.chunks) - 1
		if last < 0 || len(o.chunks[last]) == outputChunk {
			size := outputChunk
			if last < 0 {
				size = firstChunk
			}
			c := o.room.take(size)
			if c == nil {
				if err := o.spill(); err != nil {
					return written, err
				}
				break
			}
			o.chunks, last = append(o.chunks, c), last+1
		}
		n := min(len(p), outputChunk-len(o.chunks[last]))
		o.chunks[last] = append(o.chunks[last], p[:n]...)
		p = p[n:]
		written += n
		o.size += int64(n)
	}
	if len(p) == 0 {
		return written, nil
	}
	n, err := o.disk.Write(p)
	o.size += int64(n)
	return written + n, err
}

// spill moves what was written to a temporary file.
func (o *output) spill() error {
	f, err := os.CreateTemp(o.dir, "segment-*.parquet")
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", err)
	}
	o.disk = f
	for _, c := range o.chunks {
		if _, err := f.Write(c); err != nil {
			return err
		}
	}
	o.room.give(len(o.chunks))
	o.chunks = nil
	return nil
}

// ReadAt implements io.ReaderAt.
func (o *output) ReadAt(p []byte, off int64) (int, error) {
	if o.disk != nil {
		return o.disk.ReadAt(p, off)
	}
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	n := 0
	for n < len(p) && off < o.size {
		c := copy(p[n:], o.chunks[off/outputChunk][off%outputChunk:])
		n += c
		off += int64(c)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (o *output) length() int64 { return o.size }

// reader gives the file from its start, any number of times.
func (o *output) reader() io.Reader { return io.NewSectionReader(o, 0, o.size) }

// remove lets the file go.
func (o *output) remove() {
	o.room.give(len(o.chunks))
	o.chunks = nil
	if o.disk != nil {
		_ = o.disk.Close()
		_ = os.Remove(o.disk.Name())
	}
}
