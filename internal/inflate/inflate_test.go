package inflate

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"varve/internal/mq"
)

// packed is a body in each of the compressions.
func packed(t *testing.T, plain []byte) map[int32][]byte {
	t.Helper()
	out := map[int32][]byte{}
	for kind, open := range map[int32]func(io.Writer) (io.WriteCloser, error){
		0:    func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriter(w), nil },
		LZ4:  func(w io.Writer) (io.WriteCloser, error) { return lz4.NewWriter(w), nil },
		Zstd: func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
	} {
		var b bytes.Buffer
		w, err := open(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		out[kind] = b.Bytes()
	}
	return out
}

func TestABodyIsAsItsProducerKnewIt(t *testing.T) {
	plain := bytes.Repeat([]byte("a lamp "), 1000)
	var f Inflater
	defer f.Close()
	for kind, body := range packed(t, plain) {
		for range 2 { // the second with what the first has made
			got, err := f.Body(body, mq.SysCompressed|kind, len(plain))
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("kind %x: %d bytes, %v", kind, len(got), err)
			}
			if got, err = Body(body, mq.SysCompressed|kind, len(plain)); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("kind %x, pooled: %d bytes, %v", kind, len(got), err)
			}
		}
		if _, err := f.Body(body, mq.SysCompressed|kind, len(plain)-1); !errors.Is(err, ErrTooLong) {
			t.Errorf("kind %x over the limit: %v", kind, err)
		}
		if _, err := f.Body(body[:len(body)/2], mq.SysCompressed|kind, len(plain)); err == nil {
			t.Errorf("kind %x: half of it is taken", kind)
		}
	}
	if got, err := Body(plain, LZ4, 1); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("a body that isn't compressed: %d bytes, %v", len(got), err)
	}
}
