package txn

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

// BenchmarkTransaction is one transaction of 1 KiB from its send to its commit,
// on the machine's own disk, 64 at a time.
func BenchmarkTransaction(b *testing.B) {
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
	s, err := Open(Options{
		Broker: "b", FirstCheck: time.Minute, CheckInterval: time.Minute, MaxChecks: 1, MaxAge: time.Hour, MaxPerTopic: 1 << 20,
		Place: func(*mq.Message, bool) error { return nil },
	}, log, m)
	if err != nil {
		b.Fatal(err)
	}
	log.OnArrival(func([]hot.Arrival) { s.Wake() })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	const window = 64
	placed := make(chan hot.Placed, window)
	done := make(chan error, window)
	body := make([]byte, 1024)
	b.ReportAllocs()
	for sent, open := 0, 0; sent < b.N || open > 0; {
		for ; sent < b.N && open < window; sent, open = sent+1, open+1 {
			msg := &mq.Message{Topic: "orders", Body: body, Properties: mq.AppendProperty(nil, mq.PropTransaction, "true")}
			s.Prepare(msg, "payers", "id")
			log.Submit([]*mq.Message{msg}, func(p []hot.Placed, err error) {
				if err != nil {
					b.Error(err)
				}
				placed <- p[0]
			})
		}
		select {
		case p := <-placed:
			s.End(End{Group: "payers", Offset: p.QueueOffset, Physical: p.PhysicalOffset, Verdict: Commit}, log.Submit, func(err error) { done <- err })
		case err := <-done:
			if open--; err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}
