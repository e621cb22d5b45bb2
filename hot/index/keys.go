package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"
)

// Key kinds, part of what is hashed.
const (
	KeyUnique = 'u' // the UNIQ_KEY
	KeyWord   = 'k' // one word of KEYS
)

const keyMagic uint32 = 0x56424b49 // "VBKI"

const (
	keyVersion   = 1
	keyHeaderLen = 40
	keyEntryLen  = 12
	// maxKeyBlock bounds the entries of one block.
	maxKeyBlock = 1 << 26
	// keyWindow is the number of entries that a lookup reads at once.
	keyWindow = 256
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// KeyEntry is one key of the record at a position.
type KeyEntry struct {
	Hash uint64
	Pos  int64
}

// KeyHash is the hash under which a key of a topic is filed.
func KeyHash(scratch []byte, topic string, kind byte, key []byte) (hash uint64, reuse []byte) {
	scratch = append(scratch[:0], topic...)
	scratch = append(scratch, 0, kind)
	scratch = append(scratch, key...)
	return xxh3.Hash(scratch), scratch
}

// KeyFile is the key index of one segment. Lookup may be called at any time,
// Append by one goroutine.
type KeyFile struct {
	base int64
	path string
	f    vfs.File

	mu     sync.RWMutex
	blocks []keyBlock
	size   int64
}

type keyBlock struct {
	off   int64 // of the first entry in the file
	count int
	to    int64
}

// OpenKeyFile opens or creates the key index of the segment with the given
// base. Blocks that are not whole are forgotten; with verify every byte is
// read, without it the headers only.
func OpenKeyFile(fs vfs.FS, path string, base int64, verify bool) (*KeyFile, error) {
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("opening the key index: %w", err)
	}
	return readKeyFile(f, path, base, verify)
}

// CheckKeyFile reads every byte of a segment's key index, which it does not
// change, and gives the number of entries and the position that they cover.
func CheckKeyFile(fs vfs.FS, path string, base int64) (entries, covered int64, err error) {
	f, err := fs.Open(path)
	if err != nil {
		return 0, 0, fmt.Errorf("opening the key index: %w", err)
	}
	k, err := readKeyFile(f, path, base, true)
	if err != nil {
		return 0, 0, err
	}
	for _, b := range k.blocks {
		entries += int64(b.count)
	}
	return entries, k.covered(), k.Close()
}

func readKeyFile(f vfs.File, path string, base int64, verify bool) (*KeyFile, error) {
	k := &KeyFile{base: base, path: path, f: f}
	for {
		b, next, err := k.readHeader(k.size, verify)
		if errors.Is(err, ErrBad) || errors.Is(err, io.EOF) {
			return k, nil
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reading the key index %s: %w", path, err), f.Close())
		}
		k.blocks = append(k.blocks, b)
		k.size = next
	}
}

// Covered is the position up to which the file has every key.
func (k *KeyFile) Covered() int64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.covered()
}

func (k *KeyFile) covered() int64 {
	if n := len(k.blocks); n > 0 {
		return k.blocks[n-1].to
	}
	return k.base
}

// readHeader reads the block at off:
//
//	 0 u32 magic   4 u16 version   6 u16 zero   8 u32 entries   12 u32 CRC-32C of the entries
//	16 i64 from   24 i64 to       32 u32 zero  36 u32 CRC-32C of 0..36
func (k *KeyFile) readHeader(off int64, verify bool) (b keyBlock, next int64, err error) {
	be := binary.BigEndian
	h := make([]byte, keyHeaderLen)
	if _, err := k.f.ReadAt(h, off); err != nil {
		return b, 0, err
	}
	b = keyBlock{off: off + keyHeaderLen, count: int(be.Uint32(h[8:])), to: int64(be.Uint64(h[24:]))}
	from := int64(be.Uint64(h[16:]))
	switch {
	case be.Uint32(h) != keyMagic, be.Uint16(h[4:]) != keyVersion, crc32.Checksum(h[:36], castagnoli) != be.Uint32(h[36:]):
		return b, 0, fmt.Errorf("%w: block header at %d", ErrBad, off)
	case b.count > maxKeyBlock, from != k.covered(), b.to < from:
		return b, 0, fmt.Errorf("%w: block at %d has %d entries of %d to %d", ErrBad, off, b.count, from, b.to)
	}
	next = b.off + int64(b.count)*keyEntryLen
	if !verify {
		info, err := k.f.Stat()
		if err == nil && info.Size() < next {
			err = fmt.Errorf("%w: block at %d is cut off", ErrBad, off)
		}
		return b, next, err
	}
	entries := make([]byte, next-b.off)
	if _, err := k.f.ReadAt(entries, b.off); err != nil && len(entries) > 0 {
		return b, 0, err
	}
	if crc32.Checksum(entries, castagnoli) != be.Uint32(h[12:]) {
		return b, 0, fmt.Errorf("%w: checksum of the block at %d", ErrBad, off)
	}
	return b, next, nil
}

// Append files the keys of the positions from Covered to to, which it sorts.
func (k *KeyFile) Append(es []KeyEntry, to int64, sync bool) error {
	slices.SortFunc(es, func(a, b KeyEntry) int {
		switch {
		case a.Hash < b.Hash, a.Hash == b.Hash && a.Pos < b.Pos:
			return -1
		case a.Hash == b.Hash && a.Pos == b.Pos:
			return 0
		}
		return 1
	})
	be := binary.BigEndian
	buf := make([]byte, keyHeaderLen, keyHeaderLen+len(es)*keyEntryLen)
	for _, e := range es {
		buf = be.AppendUint64(buf, e.Hash)
		buf = be.AppendUint32(buf, uint32(e.Pos-k.base))
	}
	be.PutUint32(buf, keyMagic)
	be.PutUint16(buf[4:], keyVersion)
	be.PutUint32(buf[8:], uint32(len(es)))
	be.PutUint32(buf[12:], crc32.Checksum(buf[keyHeaderLen:], castagnoli))
	be.PutUint64(buf[16:], uint64(k.Covered()))
	be.PutUint64(buf[24:], uint64(to))
	be.PutUint32(buf[36:], crc32.Checksum(buf[:36], castagnoli))
	if _, err := k.f.WriteAt(buf, k.size); err != nil {
		return fmt.Errorf("writing the key index %s: %w", k.path, err)
	}
	if sync {
		if err := k.f.SyncData(); err != nil {
			return fmt.Errorf("syncing the key index %s: %w", k.path, err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.blocks = append(k.blocks, keyBlock{off: k.size + keyHeaderLen, count: len(es), to: to})
	k.size += int64(len(buf))
	return nil
}

// Lookup calls f with the position of each record that may have the key.
func (k *KeyFile) Lookup(hash uint64, f func(pos int64)) error {
	k.mu.RLock()
	blocks := k.blocks
	k.mu.RUnlock()
	window := make([]byte, keyWindow*keyEntryLen)
	for _, b := range blocks {
		if err := k.lookupBlock(b, hash, window, f); err != nil {
			return fmt.Errorf("reading the key index %s: %w", k.path, err)
		}
	}
	return nil
}

// lookupBlock narrows the block down to a window by its hashes, then walks.
func (k *KeyFile) lookupBlock(b keyBlock, hash uint64, window []byte, f func(pos int64)) error {
	lo, hi := 0, b.count // the first entry of hash is in [lo, hi]
	for hi-lo > keyWindow {
		mid := lo + (hi-lo)/2
		if _, err := k.f.ReadAt(window[:8], b.off+int64(mid)*keyEntryLen); err != nil {
			return err
		}
		if binary.BigEndian.Uint64(window) < hash {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for lo < b.count {
		n := min(keyWindow, b.count-lo)
		p := window[:n*keyEntryLen]
		if _, err := k.f.ReadAt(p, b.off+int64(lo)*keyEntryLen); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for ; len(p) > 0; p = p[keyEntryLen:] {
			switch h := binary.BigEndian.Uint64(p); {
			case h > hash:
				return nil
			case h == hash:
				f(k.base + int64(binary.BigEndian.Uint32(p[8:])))
			}
		}
		lo += n
	}
	return nil
}

// Close closes the file.
func (k *KeyFile) Close() error { return k.f.Close() }
