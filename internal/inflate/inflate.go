package inflate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"varve/internal/mq"
)

// Compressions, as the bits mq.SysCompressionMask of a system flag. All others
// are zlib.
const (
	LZ4  int32 = 1 << 8
	Zstd int32 = 2 << 8
)

// ErrTooLong says that a body is longer than the limit when it is inflated.
var ErrTooLong = errors.New("inflated body is over the limit")

// maxWindow bounds what one zstd frame may make the decoder allocate.
const maxWindow = 8 << 20

// Inflater keeps what costs much to make between bodies. Its zero value is
// ready; it is not for two goroutines at once.
type Inflater struct{ zstd *zstd.Decoder }

// Body gives a message's body as its producer knew it: in new memory, or body
// itself where the flag doesn't say that it is compressed.
func (f *Inflater) Body(body []byte, sysFlag int32, limit int) ([]byte, error) {
	if sysFlag&mq.SysCompressed == 0 {
		return body, nil
	}
	r, err := f.open(sysFlag&mq.SysCompressionMask, body)
	if err != nil {
		return nil, fmt.Errorf("inflate a body of %d bytes: %w", len(body), err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("inflate a body of %d bytes: %w", len(body), err)
	}
	if len(plain) > limit {
		return nil, fmt.Errorf("%w of %d bytes", ErrTooLong, limit)
	}
	return plain, nil
}

func (f *Inflater) open(kind int32, body []byte) (io.Reader, error) {
	switch kind {
	case LZ4:
		return lz4.NewReader(bytes.NewReader(body)), nil
	case Zstd:
		if f.zstd == nil {
			var err error
			f.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
			if err != nil {
				return nil, err
			}
		}
		return f.zstd, f.zstd.Reset(bytes.NewReader(body))
	}
	return zlib.NewReader(bytes.NewReader(body))
}

// Close frees the decoders.
func (f *Inflater) Close() {
	if f.zstd != nil {
		f.zstd.Close()
		f.zstd = nil
	}
}

// pool is for callers with a body now and then. A decoder with one goroutine
// holds nothing that has to be closed.
var pool = sync.Pool{New: func() any { return new(Inflater) }}

// Body is an Inflater's, for any goroutine.
func Body(body []byte, sysFlag int32, limit int) ([]byte, error) {
	if sysFlag&mq.SysCompressed == 0 {
		return body, nil
	}
	f := pool.Get().(*Inflater)
	defer pool.Put(f)
	return f.Body(body, sysFlag, limit)
}
