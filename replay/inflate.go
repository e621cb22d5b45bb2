package replay

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"varve/internal/mq"
)

// inflater gives bodies as their producer knew them. The archive holds them
// so already; the hot log holds what the client sent.
type inflater struct {
	zstd *zstd.Decoder
}

// Values of the compression bits, shifted down.
const (
	compressionLZ4  = 1
	compressionZstd = 2
)

// inflate makes m's body the plain one and clears the flags that say it is
// compressed. Where that fails m stays as it is.
func (f *inflater) inflate(m *mq.Message) {
	if m.SysFlag&mq.SysCompressed == 0 {
		return
	}
	r, err := f.open((m.SysFlag&mq.SysCompressionMask)>>8, m.Body)
	if err != nil {
		return
	}
	body, err := io.ReadAll(io.LimitReader(r, mq.MaxBodyLen+1))
	if err != nil || len(body) > mq.MaxBodyLen {
		return
	}
	m.Body = body
	m.SysFlag &^= mq.SysCompressed | mq.SysCompressionMask
}

func (f *inflater) open(kind int32, body []byte) (io.Reader, error) {
	switch kind {
	case compressionLZ4:
		return lz4.NewReader(bytes.NewReader(body)), nil
	case compressionZstd:
		if f.zstd == nil {
			var err error
			f.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(2*mq.MaxBodyLen))
			if err != nil {
				return nil, err
			}
		}
		return f.zstd, f.zstd.Reset(bytes.NewReader(body))
	}
	return zlib.NewReader(bytes.NewReader(body))
}

func (f *inflater) close() {
	if f.zstd != nil {
		f.zstd.Close()
	}
}
