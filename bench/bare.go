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
// settings, and returns the CPU time of the writing (collector included).
func bareWriter(b *bench, n int64) (time.Duration, error) {
	var sum time.Duration
	for q := range int64(queues) {
		name := filepath.Join(b.work, fmt.Sprintf("bare-%d.parquet", q))
		d, err := bareFile(b.corpus, name, q, n/queues)
		if err != nil {
			return 0, fmt.Errorf("writing %s: %w", name, err)
		}
		sum += d
	}
	return sum, nil
}

func bareFile(c *corpus.Corpus, name string, queue, n int64) (time.Duration, error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer os.Remove(name)
	defer f.Close()
	w := parquet.NewGenericWriter[row](f,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}), parquet.PageBufferSize(barePage), parquet.MaxRowsPerRowGroup(bareRowGroup),
		parquet.SkipPageBounds("body"), parquet.SkipPageStatistics("body"),
		parquet.BloomFilters(parquet.SplitBlockFilter(10, "msg_id"), parquet.SplitBlockFilter(10, "keys", "list", "element")))
	rows := make([]row, bareBatch)
	var sum time.Duration
	for at := int64(0); at < n; at += bareBatch {
		some := rows[:min(bareBatch, n-at)]
		for i := range some {
			fillRow(&some[i], c, queue, at+int64(i))
		}
		start, err := ownCPU()
		if err != nil {
			return 0, err
		}
		if _, err := w.Write(some); err != nil {
			return 0, err
		}
		end, err := ownCPU()
		if err != nil {
			return 0, err
		}
		sum += end - start
	}
	start, err := ownCPU()
	if err != nil {
		return 0, err
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	runtime.GC()
	end, err := ownCPU()
	return sum + end - start, err
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
