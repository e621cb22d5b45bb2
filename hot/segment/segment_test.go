package segment

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"varve/internal/mq"
)

// script is a segment file under construction.
type script struct {
	file []byte
	base int64
}

func (s *script) pos() int64 { return s.base + int64(len(s.file)) }

// batch appends a batch of small records at position pos.
func batch(pos int64, epoch uint64, durable int64, bodies []string) []byte {
	var out []byte
	for i, body := range bodies {
		out = mq.AppendRecord(out, &mq.Message{
			Topic: "t", QueueOffset: int64(i), PhysicalOffset: pos + int64(len(out)), Body: []byte(body),
		})
	}
	return AppendTrailer(out, out, Trailer{Start: pos, Epoch: epoch, Durable: durable, Count: uint32(len(bodies))})
}

// TestScripts runs testdata/*: headers and batches are laid down, harmed, and
// scanned again.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := new(script)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.run(t, d)
		})
	})
}

func arg(t *testing.T, d *datadriven.TestData, name string, def int64) int64 {
	t.Helper()
	for _, a := range d.CmdArgs {
		if a.Key == name {
			n, err := strconv.ParseInt(a.Vals[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return def
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "header":
		s.base = arg(t, d, "base", 0)
		s.file = AppendHeader(nil, Header{
			Base: s.base, PrevEnd: arg(t, d, "prev", s.base), Epoch: uint64(arg(t, d, "epoch", 1)), CreatedMillis: 7,
		})
		return s.header()
	case "parse-header":
		return s.header()
	case "batch": // at=… overwrites, as a later life of the file does
		at := arg(t, d, "at", s.pos())
		b := batch(arg(t, d, "claim", at), uint64(arg(t, d, "epoch", 1)), arg(t, d, "durable", 0), strings.Fields(d.Input))
		off := int(at - s.base)
		s.file = append(s.file, make([]byte, max(0, off+len(b)-len(s.file)))...)
		copy(s.file[off:], b)
		return fmt.Sprintf("[%d, %d)", at, at+int64(len(b)))
	case "flip":
		s.file[arg(t, d, "at", 0)-s.base] ^= 1
		return "ok"
	case "poke-version":
		s.file[5] = byte(arg(t, d, "to", 0))
		return "ok"
	case "cut":
		s.file = s.file[:arg(t, d, "at", 0)-s.base]
		return "ok"
	case "scan":
		return s.scan(arg(t, d, "from", s.base+HeaderLen), arg(t, d, "limit", 1<<40), uint64(arg(t, d, "epoch", 0)))
	case "evidence":
		durable, found, err := FindEvidence(bytes.NewReader(s.file), s.base, arg(t, d, "from", 0), 1<<20, uint64(arg(t, d, "epoch", 1)))
		return fmt.Sprintf("durable=%d found=%t err=%v", durable, found, err)
	case "start":
		start, err := FindStart(bytes.NewReader(s.file), s.base, arg(t, d, "of", 0), 1<<40)
		return fmt.Sprintf("start=%d err=%v", start, err)
	}
	return "unknown command " + d.Cmd
}

func (s *script) header() string {
	h, err := ParseHeader(s.file)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%+v", h)
}

func (s *script) scan(from, limit int64, epoch uint64) string {
	var out strings.Builder
	sc := NewScanner(bytes.NewReader(s.file), s.base, from, limit, epoch)
	for {
		b, err := sc.Next()
		if err != nil {
			fmt.Fprintf(&out, "%d: %v", sc.Pos(), err)
			return out.String()
		}
		fmt.Fprintf(&out, "[%d, %d) epoch=%d durable=%d:", b.Start, b.End(), b.Epoch, b.Durable)
		for r := range mq.Records(b.Records) {
			fmt.Fprintf(&out, " %s", r.Body())
		}
		out.WriteByte('\n')
	}
}

// The bytes of version 1, for ever.
func TestGolden(t *testing.T) {
	const wantHeader = "5641525600010040000000000000100000000000000010000000000000000003" +
		"00000000000000070000000000000000000000000000000000000000"
	h := AppendHeader(nil, Header{Base: 4096, PrevEnd: 4096, Epoch: 3, CreatedMillis: 7})
	if got := hex.EncodeToString(h[:HeaderLen-4]); got != wantHeader {
		t.Errorf("header %s", got)
	}
	b := batch(4160, 3, 4096, []string{"a"})
	const wantTrailer = "000000305642544300000000000010400000000000000003" + "0000000000001000000000010000005d"
	if got := hex.EncodeToString(b[len(b)-TrailerLen : len(b)-8]); got != wantTrailer {
		t.Errorf("trailer %s", got)
	}
}

// FuzzScanner feeds the scanner what a disk may hold: it must not fail but by
// its errors, and what it accepts must be whole.
func FuzzScanner(f *testing.F) {
	one := batch(HeaderLen, 1, 0, []string{"a", "bb"})
	two := append(bytes.Clone(one), batch(HeaderLen+int64(len(one)), 2, 0, []string{"c"})...)
	f.Add(two, uint16(0))
	f.Add(two[:len(two)-1], uint16(3))
	f.Add(one, uint16(len(one)-1))
	f.Fuzz(func(t *testing.T, data []byte, flip uint16) {
		if len(data) > 0 {
			data[int(flip)%len(data)] ^= 0x10
		}
		file := append(make([]byte, HeaderLen), data...)
		sc := NewScanner(bytes.NewReader(file), 0, HeaderLen, 1<<40, 0)
		at := int64(HeaderLen)
		for {
			b, err := sc.Next()
			if err != nil {
				if !errors.Is(err, ErrInvalid) && !errors.Is(err, io.EOF) {
					t.Fatalf("scanning: %v", err)
				}
				break
			}
			if b.Start != at || b.End() > int64(len(file)) {
				t.Fatalf("batch [%d, %d) at %d of %d bytes", b.Start, b.End(), at, len(file))
			}
			n := 0
			for rest := b.Records; len(rest) > 0; n++ {
				var r mq.Record
				if r, rest, err = mq.NextRecord(rest); err != nil {
					t.Fatalf("batch at %d: %v", b.Start, err)
				}
				if start, err := FindStart(bytes.NewReader(file), 0, r.PhysicalOffset(), 1<<40); err != nil || start != b.Start {
					t.Fatalf("record at %d: batch start %d, %v", r.PhysicalOffset(), start, err)
				}
			}
			if n != int(b.Count) {
				t.Fatalf("%d records, count %d", n, b.Count)
			}
			at = b.End()
		}
		_, _, _ = FindEvidence(bytes.NewReader(file), 0, at, 1<<20, 0)
		_, _ = ParseHeader(data)
	})
}
