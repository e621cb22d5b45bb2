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

func (w *FileWriter) numbers(dst []parquet.Value, col int) []parquet.Value {
	broker := []byte(w.queue.Broker)
	for i := range w.rows {
		r := &w.rows[i]
		var v parquet.Value
		switch col {
		case colBroker:
			v = parquet.ByteArrayValue(broker)
		case colQueueID:
			v = parquet.Int32Value(w.queue.ID)
		case colQueueOffset:
			v = parquet.Int64Value(r.queueOffset)
		case colStoreTime:
			v = parquet.Int64Value(r.storeMicros)
		case colBornTime:
			v = parquet.Int64Value(r.bornMicros)
		case colPhysicalOffset:
			v = parquet.Int64Value(r.physical)
		case colPreparedOffset:
			v = parquet.Int64Value(r.prepared)
		case colReconsumeTimes:
			v = parquet.Int32Value(r.reconsume)
		case colSysFlag:
			v = parquet.Int32Value(r.sysFlag)
		case colFlag:
			v = parquet.Int32Value(r.flag)
		case colBodyCRC:
			v = parquet.Int32Value(int32(r.bodyCRC))
		}
		dst = append(dst, v) // a required column needs no levels
	}
	return dst
}

// bytes gives the byte columns: one value a row, or null.
func (w *FileWriter) bytes(dst []parquet.Value, col int) []parquet.Value {
	for i := range w.rows {
		r := &w.rows[i]
		var b []byte
		optional := true
		switch col {
		case colMsgID:
			b, optional = r.msgID, false
		case colBody:
			b, optional = r.body, false
		case colBornHost:
			b, optional = r.bornHost, false
		case colStoreHost:
			b, optional = r.storeHost, false
		case colTag:
			b = r.tag
		case colBodyEncoding:
			b = r.encoding
		case colStoredForm:
			b = r.form
		case colErasedHash: // erasure rewrites files; a writer never erases
		}
		switch {
		case !optional:
			dst = append(dst, parquet.ByteArrayValue(b))
		case b == nil:
			dst = append(dst, parquet.NullValue().Level(0, 0, col))
		default:
			dst = append(dst, parquet.ByteArrayValue(b).Level(0, 1, col))
		}
	}
	return dst
}

func (w *FileWriter) keyValues(dst []parquet.Value) []parquet.Value {
	for i := range w.rows {
		r := &w.rows[i]
		if r.keys == 0 {
			dst = append(dst, parquet.NullValue().Level(0, 0, colKeys))
			continue
		}
		for j, key := range w.keys[r.firstKey : r.firstKey+r.keys] {
			dst = append(dst, parquet.ByteArrayValue(key).Level(min(j, 1), 1, colKeys))
		}
	}
	return dst
}

func (w *FileWriter) propertyValues(dst []parquet.Value, col int) []parquet.Value {
	for i := range w.rows {
		r := &w.rows[i]
		if r.pairs == 0 {
			dst = append(dst, parquet.NullValue().Level(0, 0, col))
			continue
		}
		for j, p := range w.pairs[r.firstPair : r.firstPair+r.pairs] {
			b := p.key
			if col == colPropertyValue {
				b = p.value
			}
			dst = append(dst, parquet.ByteArrayValue(b).Level(min(j, 1), 1, col))
		}
	}
	return dst
}
