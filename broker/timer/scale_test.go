package timer

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/meta"
	"varve/internal/mq"
)

var (
	scale     = flag.Int("scale", 0, "messages that TestScale holds back at once; 0 skips it")
	burst     = flag.Int("scale-burst", 100_000, "messages that are due within one second then")
	scaleBody = flag.Int("scale-body", 1024, "bytes of their bodies")
)

// resident is the process's resident memory in MiB.
func resident(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc here")
	}
	for line := range strings.Lines(string(b)) {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb >> 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// TestScale holds many messages back, on the machine's own disk, and says what
// that takes:
//
//	go test ./broker/timer -run TestScale -scale 1000000 -v -timeout 1h
func TestScale(t *testing.T) {
	if *scale == 0 {
		t.Skip("wants -scale")
	}
	dir := t.TempDir()
	var delivered atomic.Int64
	var late []int64
	open := func() (*hot.Store, *Store, func()) {
		log, err := hot.Open(dir+"/log", hot.Options{FS: vfs.Default, Broker: "b", MinFreeBytes: -1, SegmentBytes: 64 << 20})
		if err != nil {
			t.Fatal(err)
		}
		m, err := meta.Open(dir+"/meta", vfs.Default)
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, err := m.Bulk(bulkName); err != nil {
			t.Fatal(err)
		}
		t.Logf("bulk opened in %v", time.Since(begun))
		s, err := Open(Options{Broker: "b", Levels: []time.Duration{time.Second}}, log, m)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("opened in %v with %d held back, %d MiB resident", time.Since(begun), s.Pending(), resident(t))
		log.OnArrival(func(as []hot.Arrival) {
			now := time.Now().UnixMilli()
			for _, a := range as {
				if a.Queue.Topic != real.Topic {
					s.Wake()
					continue
				}
				delivered.Add(1)
				v, _ := mq.Property(a.Properties, "DUE")
				var due int64
				fmt.Sscan(string(v), &due)
				late = append(late, now-due)
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		return log, s, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if err := log.Close(); err != nil {
				t.Error(err)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	log, s, end := open()
	body := make([]byte, *scaleBody)
	room := make(chan struct{}, 256)
	send := func(due int64) {
		msg := &mq.Message{Topic: real.Topic, Body: body, Properties: mq.AppendProperty(nil, "DUE", fmt.Sprint(due))}
		s.At(msg, due)
		room <- struct{}{}
		log.Submit([]*mq.Message{msg}, func(_ []hot.Placed, err error) {
			if err != nil {
				t.Error(err)
			}
			<-room
		})
	}
	peak := 0
	begun := time.Now()
	base := begun.Add(time.Hour).UnixMilli()
	for i := range *scale {
		send(base + int64(i)*7919%100_000_000) // spread over a day
		if i%100_000 == 0 {
			peak = max(peak, resident(t))
		}
	}
	sent := time.Since(begun)
	for s.Pending() < int64(*scale) || func() bool { return s.lowest() < log.Confirmed() }() {
		time.Sleep(10 * time.Millisecond)
		peak = max(peak, resident(t))
	}
	t.Logf("%d taken in %v (%.0f/s), kept in %v (%.0f/s), peak %d MiB resident", *scale, sent, float64(*scale)/sent.Seconds(),
		time.Since(begun), float64(*scale)/time.Since(begun).Seconds(), peak)
	end()
	runtime.GC()
	log, s, end = open()
	due := time.Now().Add(3*time.Second + time.Duration(*burst)*20*time.Microsecond).UnixMilli()
	for i := range *burst {
		send(due + int64(i)*1000/int64(*burst))
	}
	time.Sleep(time.Until(time.UnixMilli(due)))
	var sends []time.Duration
	for delivered.Load() < int64(*burst) {
		begun := time.Now()
		if _, err := log.Append(t.Context(), []*mq.Message{{Topic: "plain", Body: body}}); err != nil {
			t.Fatal(err)
		}
		sends = append(sends, time.Since(begun))
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(time.UnixMilli(due))
	end()
	slices.Sort(late)
	slices.Sort(sends)
	t.Logf("they came within %v; %d sends meanwhile took p50 %v, p99 %v, at most %v",
		took, len(sends), sends[len(sends)/2], sends[len(sends)*99/100], sends[len(sends)-1])
	t.Logf("of %d due in a second, beside %d: p50 %d ms late, p99 %d ms, last %d ms; %d MiB resident",
		*burst, *scale, late[len(late)/2], late[len(late)*99/100], late[len(late)-1], resident(t))
}
