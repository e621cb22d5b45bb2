package hot

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"varve/internal/mq"
)

func benchMessage(topic string, queue int32) *mq.Message {
	p := mq.AppendProperty(nil, mq.PropUniqKey, "7F000001ACDC18B4AAC2A1B2C3D40001")
	p = mq.AppendProperty(p, mq.PropTags, "TagA")
	p = mq.AppendProperty(p, mq.PropWait, "true")
	return &mq.Message{
		Topic: topic, QueueID: queue, Body: bytes.Repeat([]byte("x"), 1024), Properties: p,
		BornHost:  netip.MustParseAddrPort("127.0.0.1:40000"),
		StoreHost: netip.MustParseAddrPort("127.0.0.1:10911"),
	}
}

func benchStore(b *testing.B, o Options) *Store {
	b.Helper()
	o.Broker = "bench"
	s, err := Open(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// BenchmarkAppend has 64 submitters of 1 KiB messages: waiting for each
// (sync), or with 32 on their way each (pipelined).
func BenchmarkAppend(b *testing.B) {
	for _, flush := range []FlushPolicy{FlushAsync, FlushSync} {
		for _, window := range []int{1, 32} {
			b.Run(fmt.Sprintf("flush=%d/window=%d", flush, window), func(b *testing.B) {
				s := benchStore(b, Options{Flush: flush})
				b.ReportAllocs()
				b.ResetTimer()
				submitAll(b, s, b.N, 64, window)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
				b.ReportMetric(float64(b.N)/float64(s.Stats().Batches), "msg/batch")
			})
		}
	}
}

func submitAll(b *testing.B, s *Store, n, submitters, window int) {
	b.Helper()
	var wg sync.WaitGroup
	for i := range submitters {
		wg.Go(func() {
			m := benchMessage("bench", int32(i%8))
			slots := make(chan struct{}, window)
			for range n / submitters {
				slots <- struct{}{}
				s.Submit([]*mq.Message{m}, func(_ []Placed, err error) {
					if err != nil {
						b.Error(err)
					}
					<-slots
				})
			}
			for range window {
				slots <- struct{}{}
			}
		})
	}
	wg.Wait()
}

// BenchmarkRead catches up with interleaved queues, each in its turn, 32
// messages a time, which is what a client's pull asks for, and gives the bodies
// back, as a server does.
func BenchmarkRead(b *testing.B) {
	poisons := poisonReturned
	poisonReturned = false // a server doesn't, and it takes twice what a read does
	b.Cleanup(func() { poisonReturned = poisons })
	for _, queues := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("queues=%d", queues), func(b *testing.B) {
			s := benchStore(b, Options{})
			fillQueues(b, s, 400_000, queues)
			if err := s.checkpoint(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			at := make([]int64, queues)
			for i, n := 0, 0; n < b.N; i = (i + 1) % queues {
				q := mq.Queue{Broker: "bench", Topic: "bench", ID: int32(i)}
				got, err := s.Read(context.Background(), q, at[i], mq.Limit{Messages: 32, Lend: true})
				if err != nil {
					b.Fatal(err)
				}
				if at[i] = got.Next; at[i] == got.Range.To {
					at[i] = 0
				}
				n += got.Count
				got.Release()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func fillQueues(b *testing.B, s *Store, n, queues int) {
	b.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		s.Submit([]*mq.Message{benchMessage("bench", int32(i%queues))}, func(_ []Placed, err error) {
			if err != nil {
				b.Error(err)
			}
			wg.Done()
		})
		if i%1000 == 999 {
			wg.Wait()
		}
	}
	wg.Wait()
}
