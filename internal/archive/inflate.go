package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"varve/internal/mq"
)

// maxZstdWindow bounds what one zstd frame may make the decoder allocate.
const maxZstdWindow = 8 << 20

var errTooLong = errors.New("inflated body is over the limit")

// inflater undoes client compression. It keeps decoders between bodies.
type inflater struct {
	in   bytes.Reader
	zlib io.ReadCloser
	lz4  *lz4.Reader
	zstd *zstd.Decoder
}

// inflate gives the body in new memory. A body that would be longer than
// mq.MaxBodyLen is an error, whatever its compressed length.
func (f *inflater) inflate(encoding string, body []byte) ([]byte, error) {
	f.in.Reset(body)
	r, err := f.open(encoding)
	if err != nil {
		return nil, fmt.Errorf("inflate %s: %w", encoding, err)
	}
	out := bytes.NewBuffer(make([]byte, 0, min(4*len(body)+512, mq.MaxBodyLen+1)))
	n, err := io.Copy(out, io.LimitReader(r, mq.MaxBodyLen+1))
	if err != nil {
		return nil, fmt.Errorf("inflate %s: %w", encoding, err)
	}
	if n > mq.MaxBodyLen {
		return nil, fmt.Errorf("inflate %s: %w of %d", encoding, errTooLong, mq.MaxBodyLen)
	}
	return out.Bytes(), nil
}

func (f *inflater) open(encoding string) (io.Reader, error) {
	switch encoding {
	case encodingZlib:
		if f.zlib == nil {
			z, err := zlib.NewReader(&f.in)
			if err != nil {
				return nil, err
			}
			f.zlib = z
			return z, nil
		}
		return f.zlib, f.zlib.(zlib.Resetter).Reset(&f.in, nil)
	case encodingLZ4:
		if f.lz4 == nil {
			f.lz4 = lz4.NewReader(&f.in)
			return f.lz4, nil
		}
		f.lz4.Reset(&f.in)
		return f.lz4, nil
	default:
		if f.zstd == nil {
			z, err := zstd.NewReader(&f.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
			if err != nil {
				return nil, err
			}
			f.zstd = z
			return z, nil
		}
		return f.zstd, f.zstd.Reset(&f.in)
	}
}

// close frees the decoders.
func (f *inflater) close() {
	if f.zstd != nil {
		f.zstd.Close()
		f.zstd = nil
	}
}
