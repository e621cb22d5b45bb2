package replay

import (
	"bytes"
	"errors"
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

// inflate gives the plain body and what it was compressed with. Where that
// fails the body is given as it is, and the message keeps its flag.
func (f *inflater) inflate(m *mq.Message) (body []byte, encoding string) {
	if m.SysFlag&mq.SysCompressed == 0 {
		return m.Body, ""
	}
	var r io.Reader
	var err error
	switch (m.SysFlag & mq.SysCompressionMask) >> 8 {
	case compressionLZ4:
		encoding, r = "lz4", lz4.NewReader(bytes.NewReader(m.Body))
	case compressionZstd:
		encoding = "zstd"
		if f.zstd == nil {
			f.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(2*mq.MaxBodyLen))
		}
		if err == nil {
			r, err = f.zstd, f.zstd.Reset(bytes.NewReader(m.Body))
		}
	default:
		encoding = "zlib"
		r, err = zlib.NewReader(bytes.NewReader(m.Body))
	}
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(r, mq.MaxBodyLen+1))
	}
	if err == nil && len(body) > mq.MaxBodyLen {
		err = errors.New("longer than a body may be")
	}
	if err != nil {
		return m.Body, ""
	}
	m.Body = body
	m.SysFlag &^= mq.SysCompressed | mq.SysCompressionMask
	return body, encoding
}

func (f *inflater) close() {
	if f.zstd != nil {
		f.zstd.Close()
	}
}
