package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/klauspost/compress/zstd"

	"varve/internal/objstore"
)

// A part ends behind an item by whose key it may, from cutMin on, and at cutRaw
// at the latest: so an item that comes or goes changes the parts near to it only.
const (
	cutMin  = 1 << 20
	cutRaw  = 8 << 20
	cutMask = 63
)

// partMagic begins an unpacked part: name and version.
const partMagic = "VSP\x01"

// packer collects items into parts.
type packer struct {
	raw   []byte
	items int64
	enc   *zstd.Encoder
}

func newPacker() (*packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return &packer{enc: enc}, nil
}

// add takes an item; full says that the part ends here.
func (p *packer) add(key string, value []byte) (full bool) {
	if p.items == 0 {
		p.raw = append(p.raw[:0], partMagic...)
	}
	p.raw = binary.AppendUvarint(p.raw, uint64(len(key)))
	p.raw = append(p.raw, key...)
	p.raw = binary.AppendUvarint(p.raw, uint64(len(value)))
	p.raw = append(p.raw, value...)
	p.items++
	if len(p.raw) < cutMin {
		return false
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return h.Sum32()&cutMask == 0 || len(p.raw) >= cutRaw
}

// pack gives the part of what was added since the last one.
func (p *packer) pack() (Part, []byte) {
	data := p.enc.EncodeAll(p.raw, nil)
	sum := sha256.Sum256(data)
	part := Part{SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(data)), Items: p.items}
	p.items = 0
	return part, data
}

// Each calls fn for every item of a section, in order. key and value are the
// callee's to keep. An error of fn ends it and is returned as it is.
func (s Section) Each(ctx context.Context, b objstore.Bucket, broker string, fn func(key string, value []byte) error) error {
	for _, p := range s.Parts {
		items, err := p.read(ctx, b, broker)
		if err != nil {
			return fmt.Errorf("section %s of the state: %s: %w", s.Name, partName(broker, p.SHA256), err)
		}
		for _, it := range items {
			if err := fn(it.key, it.value); err != nil {
				return err
			}
		}
	}
	return nil
}

type item struct {
	key   string
	value []byte
}

func (p Part) read(ctx context.Context, b objstore.Bucket, broker string) ([]item, error) {
	data, err := get(ctx, b, partName(broker, p.SHA256), maxPart)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != p.SHA256 {
		return nil, fmt.Errorf("%w: its digest is another", ErrDamaged)
	}
	items, err := unpack(data)
	if err == nil && int64(len(items)) != p.Items {
		err = fmt.Errorf("%d items, the manifest says %d", len(items), p.Items)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return items, nil
}

// unpack is the reverse of packer.
func unpack(data []byte) ([]item, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPart))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	raw, err := dec.DecodeAll(data, nil)
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(raw, []byte(partMagic))
	if !ok {
		return nil, errors.New("it does not begin as a part")
	}
	var out []item
	for len(rest) > 0 {
		var key, value []byte
		if key, rest, err = field(rest); err == nil {
			value, rest, err = field(rest)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, item{string(key), value})
	}
	return out, nil
}

func field(b []byte) (f, rest []byte, err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, errors.New("an item is cut off")
	}
	return b[w : w+int(n) : w+int(n)], b[w+int(n):], nil
}
