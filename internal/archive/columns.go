package archive

import (
	"github.com/parquet-go/parquet-go"
)

// column gives the batch's values of one leaf column, appended to dst.
func (w *FileWriter) column(dst []parquet.Value, col int) []parquet.Value {
	switch col {
	case colBroker, colQueueID, colQueueOffset, colStoreTime, colBornTime, colPhysicalOffset,
		colPreparedOffset, colReconsumeTimes, colSysFlag, colFlag, colBodyCRC:
		return w.numbers(dst, col)
	case colKeys:
		return w.keyValues(dst)
	case colPropertyKey, colPropertyValue:
		return w.propertyValues(dst, col)
	default:
		return w.bytes(dst, col)
	}
}

// numbers gives the required columns of numbers, and the broker. A required
// column needs no levels.
func (w *FileWriter) numbers(dst []parquet.Value, col int) []parquet.Value {
	rows := w.rows
	switch col {
	case colBroker:
		broker := parquet.ByteArrayValue([]byte(w.queue.Broker))
		for range rows {
			dst = append(dst, broker)
		}
	case colQueueID:
		id := parquet.Int32Value(w.queue.ID)
		for range rows {
			dst = append(dst, id)
		}
	case colQueueOffset:
		dst = longs(dst, rows, func(r *row) int64 { return r.queueOffset })
	case colStoreTime:
		dst = longs(dst, rows, func(r *row) int64 { return r.storeMicros })
	case colBornTime:
		dst = longs(dst, rows, func(r *row) int64 { return r.bornMicros })
	case colPhysicalOffset:
		dst = longs(dst, rows, func(r *row) int64 { return r.physical })
	case colPreparedOffset:
		dst = longs(dst, rows, func(r *row) int64 { return r.prepared })
	case colReconsumeTimes:
		dst = ints(dst, rows, func(r *row) int32 { return r.reconsume })
	case colSysFlag:
		dst = ints(dst, rows, func(r *row) int32 { return r.sysFlag })
	case colFlag:
		dst = ints(dst, rows, func(r *row) int32 { return r.flag })
	case colBodyCRC:
		dst = ints(dst, rows, func(r *row) int32 { return int32(r.bodyCRC) })
	}
	return dst
}

func longs(dst []parquet.Value, rows []row, f func(*row) int64) []parquet.Value {
	for i := range rows {
		dst = append(dst, parquet.Int64Value(f(&rows[i])))
	}
	return dst
}

func ints(dst []parquet.Value, rows []row, f func(*row) int32) []parquet.Value {
	for i := range rows {
		dst = append(dst, parquet.Int32Value(f(&rows[i])))
	}
	return dst
}

// bytes gives the byte columns: one value a row, or null.
func (w *FileWriter) bytes(dst []parquet.Value, col int) []parquet.Value {
	switch col {
	case colMsgID:
		for i := range w.rows {
			dst = append(dst, parquet.ByteArrayValue(w.rows[i].msgID))
		}
	case colBody:
		for i := range w.rows {
			dst = append(dst, parquet.ByteArrayValue(w.rows[i].body))
		}
	case colBornHost:
		for i := range w.rows {
			dst = append(dst, parquet.ByteArrayValue(w.rows[i].bornHost))
		}
	case colStoreHost:
		for i := range w.rows {
			dst = append(dst, parquet.ByteArrayValue(w.rows[i].storeHost))
		}
	case colTag:
		for i := range w.rows {
			dst = optional(dst, w.rows[i].tag)
		}
	case colBodyEncoding:
		for i := range w.rows {
			dst = optional(dst, w.rows[i].encoding)
		}
	case colStoredForm:
		for i := range w.rows {
			dst = optional(dst, w.rows[i].form)
		}
	case colErasedHash:
		for i := range w.rows {
			if w.rows[i].erased == nil {
				dst = append(dst, parquet.Value{})
			} else {
				dst = append(dst, parquet.FixedLenByteArrayValue(w.rows[i].erased))
				dst[len(dst)-1].SetDefinitionLevel(1)
			}
		}
	}
	return dst
}

// A Value is set where it stands: one that is made elsewhere, levels and all, is
// read whole while its parts are still on their way to memory, and the processor
// waits. The column need not be named: a column writer knows its own.

// optional appends b's value, null for nil.
func optional(dst []parquet.Value, b []byte) []parquet.Value {
	if b == nil {
		return append(dst, parquet.Value{})
	}
	dst = append(dst, parquet.ByteArrayValue(b))
	dst[len(dst)-1].SetDefinitionLevel(1)
	return dst
}

// element appends the i-th value of a row's list or map.
func element(dst []parquet.Value, b []byte, i int) []parquet.Value {
	dst = append(dst, parquet.ByteArrayValue(b))
	v := &dst[len(dst)-1]
	v.SetDefinitionLevel(1)
	v.SetRepetitionLevel(min(i, 1))
	return dst
}

func (w *FileWriter) keyValues(dst []parquet.Value) []parquet.Value {
	for i := range w.rows {
		r := &w.rows[i]
		if r.keys == 0 {
			dst = append(dst, parquet.Value{})
			continue
		}
		for j, key := range w.keys[r.firstKey : r.firstKey+r.keys] {
			dst = element(dst, key, j)
		}
	}
	return dst
}

func (w *FileWriter) propertyValues(dst []parquet.Value, col int) []parquet.Value {
	for i := range w.rows {
		r := &w.rows[i]
		if r.pairs == 0 {
			dst = append(dst, parquet.Value{})
			continue
		}
		for j, p := range w.pairs[r.firstPair : r.firstPair+r.pairs] {
			b := p.key
			if col == colPropertyValue {
				b = p.value
			}
			dst = element(dst, b, j)
		}
	}
	return dst
}
