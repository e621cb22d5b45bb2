package timer

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// BenchmarkDelayed is one delayed message of 1 KiB from its send to its
// delivery, on the machine's own disk.
func BenchmarkDelayed(b *testing.B) {
	dir := b.TempDir()
	log, err := hot.Open(dir+"/log", hot.Options{FS: vfs.Default, Broker: "b", MinFreeBytes: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	m, err := meta.Open(dir+"/meta", vfs.Default)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	s, err := Open(Options{Broker: "b", Levels: []time.Duration{time.Second}}, log, m)
	if err != nil {
		b.Fatal(err)
	}
	delivered := make(chan int64, 1024)
	log.OnArrival(func(as []hot.Arrival) {
		for _, a := range as {
			if a.Queue.Topic == "orders" {
				if a.Next == int64(b.N) {
					delivered <- a.Next
				}
			} else {
				s.Wake()
			}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b.ReportAllocs()
	body := make([]byte, 1024)
	room := make(chan struct{}, 256)
	for i := range b.N {
		msg := &mq.Message{Topic: "orders", Body: body, Properties: mq.AppendProperty(nil, mq.PropKeys, fmt.Sprint(i))}
		s.Level(msg, 1)
		room <- struct{}{}
		log.Submit([]*mq.Message{msg}, func(_ []hot.Placed, err error) {
			if err != nil {
				b.Error(err)
			}
			<-room
		})
	}
	<-delivered
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}
