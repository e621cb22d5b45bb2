package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"varve/e2e/corpus"
)

// row is the archive's row as a plain Go struct (docs/format, archive).
type row struct {
	Broker         string            `parquet:"broker,dict"`
	QueueID        int32             `parquet:"queue_id"`
	QueueOffset    int64             `parquet:"queue_offset,delta"`
	StoreTime      int64             `parquet:"store_time,timestamp(microsecond),delta"`
	BornTime       int64             `parquet:"born_time,timestamp(microsecond),delta"`
	MsgID          string            `parquet:"msg_id"`
	Keys           []string          `parquet:"keys,list"`
	Tag            string            `parquet:"tag,dict"`
	Properties     map[string]string `parquet:"properties"`
	Body           []byte            `parquet:"body"`
	ReconsumeTimes int32             `parquet:"reconsume_times"`
	SysFlag        int32             `parquet:"sys_flag"`
	Flag           int32             `parquet:"flag"`
	BodyCRC        int32             `parquet:"body_crc"`
	BornHost       string            `parquet:"born_host,dict"`
	StoreHost      string            `parquet:"store_host,dict"`
	PhysicalOffset int64             `parquet:"physical_offset,delta"`
	PreparedOffset int64             `parquet:"prepared_transaction_offset"`
	BodyEncoding   *string           `parquet:"body_encoding,optional"`
}

const (
	bareRowGroup = 16_384
	barePage     = 256 << 10
	bareBatch    = 1024
)

// bareWriter writes the same rows with parquet-go alone, with the archive's own
// settings, and returns the CPU time of it: all that the process takes, the
// collector included, less what making the rows alone takes. It writes the
// queues from from to to of n messages.
func bareWriter(b *bench, n, from, to int64) (time.Duration, error) {
	var sum time.Duration
	for q := from; q < to; q++ {
		name := filepath.Join(b.work, fmt.Sprintf("bare-%d.parquet", q))
		with, err := bareFile(b.corpus, name, q, n/queues)
		if err != nil {
			return 0, fmt.Errorf("writing %s: %w", name, err)
		}
		without, err := rowsOnly(b.corpus, q, n/queues)
		if err != nil {
			return 0, err
		}
		sum += with - without
	}
	return sum, nil
}

// bareFile makes and writes the rows of one queue.
func bareFile(c *corpus.Corpus, name string, queue, n int64) (time.Duration, error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer os.Remove(name)
	defer f.Close()
	start, err := ownCPU()
	if err != nil {
		return 0, err
	}
	w := parquet.NewGenericWriter[row](f,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}), parquet.PageBufferSize(barePage), parquet.MaxRowsPerRowGroup(bareRowGroup),
		parquet.DataPageStatistics(false), parquet.SkipPageBounds("body"),
		parquet.SkipPageBounds("properties", "key_value", "key"), parquet.SkipPageBounds("properties", "key_value", "value"),
		parquet.BloomFilters(parquet.SplitBlockFilter(10, "msg_id"), parquet.SplitBlockFilter(10, "keys", "list", "element")))
	err = eachBatch(c, queue, n, func(rows []row) error {
		_, err := w.Write(rows)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return since(start)
}

// rowsOnly makes the rows and drops them.
func rowsOnly(c *corpus.Corpus, queue, n int64) (time.Duration, error) {
	start, err := ownCPU()
	if err != nil {
		return 0, err
	}
	if err := eachBatch(c, queue, n, func([]row) error { return nil }); err != nil {
		return 0, err
	}
	return since(start)
}

func eachBatch(c *corpus.Corpus, queue, n int64, f func([]row) error) error {
	rows := make([]row, bareBatch)
	for at := int64(0); at < n; at += bareBatch {
		some := rows[:min(bareBatch, n-at)]
		for i := range some {
			fillRow(&some[i], c, queue, at+int64(i))
		}
		if err := f(some); err != nil {
			return err
		}
	}
	return nil
}

func since(start time.Duration) (time.Duration, error) {
	runtime.GC() // what it leaves behind is its own
	end, err := ownCPU()
	return end - start, err
}

func fillRow(r *row, c *corpus.Corpus, queue, at int64) {
	n := at*queues + queue
	key, id := "O-2026-000000000000", "7F0000010A2B18B4AAC2000000000000"
	kb, ib := []byte(key), []byte(id)
	corpus.PutSerial(kb[len(kb)-12:], n)
	corpus.PutSerial(ib[len(ib)-12:], n)
	tag := corpus.Tags[n%int64(len(corpus.Tags))]
	micros := 1_790_000_000_000_000 + n*10
	*r = row{
		Broker: "varve-a", QueueID: int32(queue), QueueOffset: at, StoreTime: micros, BornTime: micros,
		MsgID: string(ib), Keys: append(r.Keys[:0], string(kb)), Tag: tag, Body: c.Append(r.Body[:0], n),
		Properties: map[string]string{"KEYS": string(kb), "UNIQ_KEY": string(ib), "WAIT": "true", "TAGS": tag},
		BodyCRC:    int32(n * 2_654_435_761 & 0x7fffffff), BornHost: "127.0.0.1:40000", StoreHost: "127.0.0.1:10911", PhysicalOffset: n * 1300,
	}
}

// ownCPU is what this process has taken so far.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("reading the own CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
