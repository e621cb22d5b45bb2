package mq

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"net/netip"
)

// Bits of SysFlag (apache/rocketmq: common/sysflag/MessageSysFlag.java).
const (
	SysCompressed      int32 = 0x1
	SysMultiTags       int32 = 0x2
	SysPrepared        int32 = 0x4
	SysCommit          int32 = 0x8
	SysRollback        int32 = 0xC // also the mask of the transaction type
	SysBornHostV6      int32 = 0x10
	SysStoreHostV6     int32 = 0x20
	SysNeedUnwrap      int32 = 0x40
	SysInnerBatch      int32 = 0x80
	SysCompressionMask int32 = 0x700 // 0 or 3 zlib, 1 LZ4, 2 zstd, shifted by 8
)

// Limits of the record layout itself.
const (
	MagicV1          uint32 = 0xDAA320A7
	MaxTopicLen             = 127
	MaxPropertiesLen        = 32767
	MaxBodyLen              = 4 << 20
	// fixedLen is a record's length with IPv4 hosts and empty body, topic and
	// properties.
	fixedLen = 4 + 4 + 4 + 4 + 4 + 8 + 8 + 4 + 8 + 8 + 8 + 8 + 4 + 8 + 4 + 1 + 2
	// MaxRecordLen bounds every stored record.
	MaxRecordLen = fixedLen + 24 + MaxBodyLen + MaxTopicLen + MaxPropertiesLen
)

// Positions of a record's fields that don't move.
const (
	posMagic       = 4
	posBodyCRC     = 8
	posQueueID     = 12
	posFlag        = 16
	posQueueOffset = 20
	posPhysical    = 28
	posSysFlag     = 36
	posBornTime    = 40
	posBornHost    = 48
)

// ErrBadRecord is wrapped by every decoding error.
var ErrBadRecord = errors.New("bad record")

// Message is one message with every field that RocketMQ stores. Times are
// milliseconds since 1970.
type Message struct {
	Topic                     string
	QueueID                   int32
	QueueOffset               int64
	PhysicalOffset            int64
	Flag                      int32
	SysFlag                   int32
	BornTimeMillis            int64
	BornHost                  netip.AddrPort
	StoreTimeMillis           int64
	StoreHost                 netip.AddrPort
	ReconsumeTimes            int32
	PreparedTransactionOffset int64
	Body                      []byte
	Properties                []byte // stored form; see Properties
}

// Property finds one property, "" where it is absent.
func (m *Message) Property(name string) string {
	v, _ := Property(m.Properties, name)
	return string(v)
}

// Tag is the TAGS property.
func (m *Message) Tag() string { return m.Property(PropTags) }

// BodyCRC is the checksum that RocketMQ stores of a body.
func BodyCRC(body []byte) uint32 { return crc32.ChecksumIEEE(body) & 0x7FFFFFFF }

// RecordLen is the length of m's record.
func RecordLen(m *Message) int {
	n := fixedLen + len(m.Body) + len(m.Topic) + len(m.Properties)
	if v6(m.BornHost) {
		n += 12
	}
	if v6(m.StoreHost) {
		n += 12
	}
	return n
}

func v6(a netip.AddrPort) bool { return a.Addr().Is6() && !a.Addr().Is4In6() }

// CheckMessage reports why m cannot be stored, nil if it can.
func CheckMessage(m *Message) error {
	switch {
	case m.Topic == "":
		return errors.New("topic is empty")
	case len(m.Topic) > MaxTopicLen:
		return fmt.Errorf("topic of %d bytes is over the limit of %d", len(m.Topic), MaxTopicLen)
	case len(m.Body) > MaxBodyLen:
		return fmt.Errorf("body of %d bytes is over the limit of %d", len(m.Body), MaxBodyLen)
	case len(m.Properties) > MaxPropertiesLen:
		return fmt.Errorf("properties of %d bytes are over the limit of %d", len(m.Properties), MaxPropertiesLen)
	case m.QueueID < 0:
		return fmt.Errorf("queue id %d is negative", m.QueueID)
	}
	return nil
}

// AppendRecord encodes m at the end of dst. m must have passed CheckMessage.
// The host bits of the stored SysFlag follow the hosts' address families.
func AppendRecord(dst []byte, m *Message) []byte {
	return AppendRecordCRC(dst, m, BodyCRC(m.Body))
}

// AppendRecordCRC is AppendRecord with a checksum of the body that the caller
// has; nothing looks whether it is right.
func AppendRecordCRC(dst []byte, m *Message, bodyCRC uint32) []byte {
	be := binary.BigEndian
	sys := m.SysFlag &^ (SysBornHostV6 | SysStoreHostV6)
	if v6(m.BornHost) {
		sys |= SysBornHostV6
	}
	if v6(m.StoreHost) {
		sys |= SysStoreHostV6
	}
	dst = be.AppendUint32(dst, uint32(RecordLen(m)))
	dst = be.AppendUint32(dst, MagicV1)
	dst = be.AppendUint32(dst, bodyCRC)
	dst = be.AppendUint32(dst, uint32(m.QueueID))
	dst = be.AppendUint32(dst, uint32(m.Flag))
	dst = be.AppendUint64(dst, uint64(m.QueueOffset))
	dst = be.AppendUint64(dst, uint64(m.PhysicalOffset))
	dst = be.AppendUint32(dst, uint32(sys))
	dst = be.AppendUint64(dst, uint64(m.BornTimeMillis))
	dst = appendHost(dst, m.BornHost)
	dst = be.AppendUint64(dst, uint64(m.StoreTimeMillis))
	dst = appendHost(dst, m.StoreHost)
	dst = be.AppendUint32(dst, uint32(m.ReconsumeTimes))
	dst = be.AppendUint64(dst, uint64(m.PreparedTransactionOffset))
	dst = be.AppendUint32(dst, uint32(len(m.Body)))
	dst = append(dst, m.Body...)
	dst = append(dst, byte(len(m.Topic)))
	dst = append(dst, m.Topic...)
	dst = be.AppendUint16(dst, uint16(len(m.Properties)))
	return append(dst, m.Properties...)
}

func appendHost(dst []byte, h netip.AddrPort) []byte {
	switch a := h.Addr().Unmap(); {
	case !a.IsValid():
		dst = append(dst, 0, 0, 0, 0)
	case a.Is4():
		b := a.As4()
		dst = append(dst, b[:]...)
	default:
		b := a.As16()
		dst = append(dst, b[:]...)
	}
	return binary.BigEndian.AppendUint32(dst, uint32(h.Port()))
}

// Record is one stored record: exactly its bytes. The accessors of fixed
// fields are for records that NextRecord or Decode accepted.
type Record []byte

// Magic is the mark of a record's layout.
func (r Record) Magic() uint32 { return binary.BigEndian.Uint32(r[posMagic:]) }

// QueueID is the record's queue id.
func (r Record) QueueID() int32 { return int32(binary.BigEndian.Uint32(r[posQueueID:])) }

// QueueOffset is the record's offset in its queue.
func (r Record) QueueOffset() int64 { return int64(binary.BigEndian.Uint64(r[posQueueOffset:])) }

// PhysicalOffset is the record's position in its broker group's log.
func (r Record) PhysicalOffset() int64 { return int64(binary.BigEndian.Uint64(r[posPhysical:])) }

// SysFlag is the record's system flag.
func (r Record) SysFlag() int32 { return int32(binary.BigEndian.Uint32(r[posSysFlag:])) }

// BodyCRC is the record's checksum of its body, as stored.
func (r Record) BodyCRC() uint32 { return binary.BigEndian.Uint32(r[posBodyCRC:]) }

// SetBodyCRC overwrites the record's checksum of its body.
func (r Record) SetBodyCRC(crc uint32) { binary.BigEndian.PutUint32(r[posBodyCRC:], crc) }

// Flag is the application's flag.
func (r Record) Flag() int32 { return int32(binary.BigEndian.Uint32(r[posFlag:])) }

// BornHost aliases the producer's address: 4 or 16 bytes and a port of 4.
func (r Record) BornHost() []byte { return r[posBornHost : posBornHost+r.bornHostLen()] }

// StoreHost aliases the broker's address: 4 or 16 bytes and a port of 4.
func (r Record) StoreHost() []byte {
	p := posBornHost + r.bornHostLen() + 8
	return r[p : p+r.storeHostLen()]
}

// ReconsumeTimes is how often a group has retried the message.
func (r Record) ReconsumeTimes() int32 { return int32(binary.BigEndian.Uint32(r[r.posBodyLen()-12:])) }

// PreparedTransactionOffset is the position of the half message.
func (r Record) PreparedTransactionOffset() int64 {
	return int64(binary.BigEndian.Uint64(r[r.posBodyLen()-8:]))
}

// Parts gives what stands before the body's length, the body, and what
// follows it: topic and properties with their lengths. All alias r.
func (r Record) Parts() (head, body, tail []byte) {
	p := r.posBodyLen()
	n := p + 4 + int(binary.BigEndian.Uint32(r[p:]))
	return r[:p], r[p+4 : n], r[n:]
}

// JoinRecord appends to dst the record that Parts gave around for, with another
// body, system flag and body checksum. around is the head followed by the
// tail; flag must keep the bits that say how long the hosts are.
func JoinRecord(dst, around, body []byte, sysFlag int32, bodyCRC uint32) ([]byte, error) {
	if len(around) < fixedLen-4 {
		return dst, fmt.Errorf("%w: %d bytes around the body", ErrBadRecord, len(around))
	}
	r := Record(around)
	const hosts = SysBornHostV6 | SysStoreHostV6
	p := r.posBodyLen()
	if p > len(around) || (sysFlag^r.SysFlag())&hosts != 0 {
		return dst, fmt.Errorf("%w: hosts run past the end", ErrBadRecord)
	}
	at := len(dst)
	dst = append(dst, around[:p]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)))
	dst = append(dst, body...)
	dst = append(dst, around[p:]...)
	be := binary.BigEndian
	be.PutUint32(dst[at:], uint32(len(dst)-at))
	be.PutUint32(dst[at+posBodyCRC:], bodyCRC)
	be.PutUint32(dst[at+posSysFlag:], uint32(sysFlag))
	return dst, nil
}

// BornTimeMillis is when the producer made the message.
func (r Record) BornTimeMillis() int64 { return int64(binary.BigEndian.Uint64(r[posBornTime:])) }

// StoreTimeMillis is when the broker stored the message.
func (r Record) StoreTimeMillis() int64 {
	return int64(binary.BigEndian.Uint64(r[posBornHost+r.bornHostLen():]))
}

// SetPlace writes a record's place, given when the log sequences it.
func (r Record) SetPlace(queueOffset, physicalOffset, storeTimeMillis int64) {
	binary.BigEndian.PutUint64(r[posQueueOffset:], uint64(queueOffset))
	binary.BigEndian.PutUint64(r[posPhysical:], uint64(physicalOffset))
	binary.BigEndian.PutUint64(r[posBornHost+r.bornHostLen():], uint64(storeTimeMillis))
}

func (r Record) bornHostLen() int {
	if r.SysFlag()&SysBornHostV6 != 0 {
		return 20
	}
	return 8
}

func (r Record) storeHostLen() int {
	if r.SysFlag()&SysStoreHostV6 != 0 {
		return 20
	}
	return 8
}

func (r Record) posBodyLen() int {
	return posBornHost + r.bornHostLen() + 8 + r.storeHostLen() + 4 + 8
}

// Body aliases the record's body.
func (r Record) Body() []byte {
	p := r.posBodyLen()
	n := int(binary.BigEndian.Uint32(r[p:]))
	return r[p+4 : p+4+n]
}

// Topic aliases the record's topic name.
func (r Record) Topic() []byte {
	p := r.posBodyLen()
	p += 4 + int(binary.BigEndian.Uint32(r[p:]))
	return r[p+1 : p+1+int(r[p])]
}

// Properties aliases the record's stored properties.
func (r Record) Properties() []byte {
	p := r.posBodyLen()
	p += 4 + int(binary.BigEndian.Uint32(r[p:]))
	p += 1 + int(r[p])
	n := int(binary.BigEndian.Uint16(r[p:]))
	return r[p+2 : p+2+n]
}

// Check reports whether r is one whole, self-consistent record; the body's
// checksum is verified only where withBody.
func (r Record) Check(withBody bool) error {
	if len(r) < fixedLen {
		return fmt.Errorf("%w: %d bytes, shorter than any record", ErrBadRecord, len(r))
	}
	if n := binary.BigEndian.Uint32(r); int(n) != len(r) {
		return fmt.Errorf("%w: length field %d, have %d bytes", ErrBadRecord, n, len(r))
	}
	if m := binary.BigEndian.Uint32(r[posMagic:]); m != MagicV1 {
		return fmt.Errorf("%w: magic %08x", ErrBadRecord, m)
	}
	p := r.posBodyLen()
	if p+4 > len(r) {
		return fmt.Errorf("%w: hosts run past the end", ErrBadRecord)
	}
	body := int(binary.BigEndian.Uint32(r[p:]))
	if body < 0 || body > MaxBodyLen || p+4+body+1 > len(r) {
		return fmt.Errorf("%w: body of %d bytes runs past the end", ErrBadRecord, body)
	}
	t := p + 4 + body
	if t+1+int(r[t])+2 > len(r) {
		return fmt.Errorf("%w: topic runs past the end", ErrBadRecord)
	}
	q := t + 1 + int(r[t])
	if props := int(binary.BigEndian.Uint16(r[q:])); q+2+props != len(r) {
		return fmt.Errorf("%w: properties of %d bytes don't end the record", ErrBadRecord, props)
	}
	if withBody && BodyCRC(r[p+4:t]) != binary.BigEndian.Uint32(r[posBodyCRC:]) {
		return fmt.Errorf("%w: body checksum differs", ErrBadRecord)
	}
	return nil
}

// Decode gives the record as a message whose Body and Properties alias r.
func (r Record) Decode() (Message, error) {
	if err := r.Check(false); err != nil {
		return Message{}, err
	}
	be := binary.BigEndian
	p := posBornHost + r.bornHostLen()
	s := p + 8 + r.storeHostLen()
	return Message{
		Topic:                     string(r.Topic()),
		QueueID:                   r.QueueID(),
		QueueOffset:               r.QueueOffset(),
		PhysicalOffset:            r.PhysicalOffset(),
		Flag:                      int32(be.Uint32(r[posFlag:])),
		SysFlag:                   r.SysFlag(),
		BornTimeMillis:            r.BornTimeMillis(),
		BornHost:                  host(r[posBornHost:p]),
		StoreTimeMillis:           r.StoreTimeMillis(),
		StoreHost:                 host(r[p+8 : s]),
		ReconsumeTimes:            int32(be.Uint32(r[s:])),
		PreparedTransactionOffset: int64(be.Uint64(r[s+4:])),
		Body:                      r.Body(),
		Properties:                r.Properties(),
	}, nil
}

func host(b []byte) netip.AddrPort {
	port := uint16(binary.BigEndian.Uint32(b[len(b)-4:]))
	if len(b) == 20 {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
}

// NextRecord parts the first record off a concatenation and checks its
// structure (not its body's checksum). It fails where the first record is
// broken or cut off.
func NextRecord(b []byte) (rec Record, rest []byte, err error) {
	if len(b) < fixedLen {
		return nil, b, fmt.Errorf("%w: %d bytes left", ErrBadRecord, len(b))
	}
	n := int(binary.BigEndian.Uint32(b))
	if n < fixedLen || n > MaxRecordLen || n > len(b) {
		return nil, b, fmt.Errorf("%w: length %d with %d bytes left", ErrBadRecord, n, len(b))
	}
	rec = Record(b[:n:n])
	if err := rec.Check(false); err != nil {
		return nil, b, err
	}
	return rec, b[n:], nil
}

// Records iterates over a concatenation of records that are known to be whole,
// such as a Batch's body; it stops at the first broken one.
func Records(b []byte) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for len(b) > 0 {
			rec, rest, err := NextRecord(b)
			if err != nil || !yield(rec) {
				return
			}
			b = rest
		}
	}
}
