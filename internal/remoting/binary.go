package remoting

import (
	"encoding/binary"
	"errors"
	"strconv"
	"unsafe"
)

// errShort says that a header ends inside a field.
var errShort = errors.New("header is cut off")

// aliasString is b as a string without a copy; b must not change while the
// string is in use.
func aliasString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// decodeBinary reads a header of the Binary serializer into cmd:
// i16 code | u8 language | i16 version | i32 opaque | i32 flag |
// i32 length, remark | i32 length, {i16 length, name, i32 length, value}*.
func decodeBinary(h []byte, cmd *Command) error {
	const fixed = 2 + 1 + 2 + 4 + 4
	if len(h) < fixed {
		return errShort
	}
	be := binary.BigEndian
	cmd.Code = int(int16(be.Uint16(h)))
	cmd.Language = Language(h[2])
	cmd.Version = int(int16(be.Uint16(h[3:])))
	cmd.Opaque = int32(be.Uint32(h[5:]))
	cmd.Flag = int32(be.Uint32(h[9:]))
	remark, rest, err := cutLong(h[fixed:])
	if err != nil {
		return err
	}
	cmd.Remark = string(remark)
	ext, _, err := cutLong(rest)
	if err != nil {
		return err
	}
	for len(ext) > 0 {
		var name, value []byte
		if name, ext, err = cutShort(ext); err != nil {
			return err
		}
		if value, ext, err = cutLong(ext); err != nil {
			return err
		}
		if len(name) == 0 {
			continue
		}
		if err := cmd.Ext.receive(aliasString(name), aliasString(value)); err != nil {
			return err
		}
	}
	return nil
}

func cutShort(b []byte) (head, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errShort
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > len(b)-2 {
		return nil, nil, errShort
	}
	return b[2 : 2+n], b[2+n:], nil
}

func cutLong(b []byte) (head, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errShort
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n > int64(len(b)-4) {
		return nil, nil, errShort
	}
	return b[4 : 4+n], b[4+n:], nil
}

func appendBinary(dst []byte, cmd *Command) []byte {
	be := binary.BigEndian
	dst = be.AppendUint16(dst, uint16(cmd.Code))
	dst = append(dst, byte(cmd.Language))
	dst = be.AppendUint16(dst, uint16(cmd.Version))
	dst = be.AppendUint32(dst, uint32(cmd.Opaque))
	dst = be.AppendUint32(dst, uint32(cmd.Flag))
	dst = be.AppendUint32(dst, uint32(len(cmd.Remark)))
	dst = append(dst, cmd.Remark...)
	at := len(dst)
	dst = be.AppendUint32(dst, 0)
	for i := range cmd.Ext.pairs {
		p := &cmd.Ext.pairs[i]
		dst = be.AppendUint16(dst, uint16(len(p.name)))
		dst = append(dst, p.name...)
		v := len(dst)
		dst = be.AppendUint32(dst, uint32(len(p.value)))
		if p.isNum {
			dst = strconv.AppendInt(dst, p.num, 10)
			be.PutUint32(dst[v:], uint32(len(dst)-v-4))
		} else {
			dst = append(dst, p.value...)
		}
	}
	be.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}
