package remoting

import (
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// TestIdleConnectionsAreCheap has connections do some work and fall silent:
// each then costs a small buffer and a stack, not its large buffer.
func TestIdleConnectionsAreCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const conns, limit = 300, 20 << 10
		inUse := func() uint64 {
			runtime.GC()
			runtime.GC() // the first only moves pooled buffers aside
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc + m.StackInuse
		}
		frame := jsonFrame(`{"code":10,"opaque":5}`, 100<<10)
		before := inUse()
		peers, ends := make([]net.Conn, conns), make([]<-chan struct{}, conns)
		for i := range peers {
			_, peers[i], ends[i] = pipeConn(echo, Config{})
			if _, err := peers[i].Write(frame); err != nil {
				t.Fatal(err)
			}
			if r := readReply(t, peers[i]); len(r.Body) != 100<<10 {
				t.Fatalf("body of %d bytes", len(r.Body))
			}
		}
		time.Sleep(shrinkAfter)
		synctest.Wait()
		each := (max(inUse(), before) - before) / conns
		if each > limit {
			t.Errorf("an idle connection holds %d bytes, want at most %d", each, limit)
		}
		t.Logf("%d bytes a connection", each)
		if _, err := peers[0].Write(jsonFrame(`{"code":10,"opaque":5}`, 3)); err != nil {
			t.Fatal(err)
		}
		if r := readReply(t, peers[0]); len(r.Body) != 3 {
			t.Errorf("after the silence: body of %d bytes", len(r.Body))
		}
		for i := range peers {
			_ = peers[i].Close()
			<-ends[i]
		}
	})
}
