package connector

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// TestOutput: what was written is read back from memory or from disk, and both
// are given back.
func TestOutput(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		name   string
		chunks int64 // of room
		size   int
		disk   bool
	}{
		{"nothing", 4, 0, false},
		{"small", 4, 1000, false},
		{"all the room", 4, 4 * outputChunk, false},
		{"a byte too much", 4, 4*outputChunk + 1, true},
		{"no room", 0, 1000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			var r room
			r.left.Store(c.chunks * outputChunk)
			o := &output{dir: dir, room: &r}
			want := make([]byte, c.size)
			for i := range want {
				want[i] = byte(rng.Uint32())
			}
			for rest := want; len(rest) > 0; {
				n := min(len(rest), rng.IntN(300_000)+1)
				if got, err := o.Write(rest[:n]); err != nil || got != n {
					t.Fatalf("wrote %d of %d: %v", got, n, err)
				}
				rest = rest[n:]
			}
			if o.length() != int64(c.size) {
				t.Errorf("length %d, want %d", o.length(), c.size)
			}
			if (o.disk != nil) != c.disk {
				t.Errorf("on disk: %v, want %v", o.disk != nil, c.disk)
			}
			for range 2 {
				if got, err := io.ReadAll(o.reader()); err != nil || !bytes.Equal(got, want) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
			}
			end := make([]byte, min(100, c.size))
			if _, err := o.ReadAt(end, int64(c.size-len(end))); err != nil || !bytes.Equal(end, want[c.size-len(end):]) {
				t.Errorf("the end differs: %v", err)
			}
			if n, err := o.ReadAt(make([]byte, 10), int64(c.size)); n != 0 || err != io.EOF {
				t.Errorf("behind the end: %d, %v", n, err)
			}
			o.remove()
			if left := r.left.Load(); left != c.chunks*outputChunk {
				t.Errorf("%d bytes of room are left, want %d", left, c.chunks*outputChunk)
			}
			if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
				t.Errorf("%d files are left, %v", len(files), err)
			}
		})
	}
}
