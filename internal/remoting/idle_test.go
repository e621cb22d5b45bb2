package remoting

import (
	"net"
	"runtime"
	"testing"
	"time"
)

// TestIdleConnectionsAreCheap has connections do some work and fall silent:
// each then costs a small buffer and a stack, not its large buffer.
func TestIdleConnectionsAreCheap(t *testing.T) {
	const conns, limit = 300, 20 << 10
	addr := serve(t, echo, Config{})
	inUse := func() uint64 {
		runtime.GC()
		runtime.GC() // the first only moves pooled buffers aside
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := inUse()
	peers := make([]net.Conn, conns)
	for i := range peers {
		peers[i] = rawPeer(t, addr)
		if _, err := peers[i].Write(jsonFrame(`{"code":10,"opaque":5}`, 100<<10)); err != nil {
			t.Fatal(err)
		}
		if r := readReply(t, peers[i]); len(r.Body) != 100<<10 {
			t.Fatalf("body of %d bytes", len(r.Body))
		}
	}
	var each uint64
	for deadline := time.Now().Add(3 * shrinkAfter); ; time.Sleep(100 * time.Millisecond) {
		if each = (max(inUse(), before) - before) / conns; each <= limit {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("an idle connection holds %d bytes, want at most %d", each, limit)
		}
	}
	t.Logf("%d bytes a connection", each)
	if _, err := peers[0].Write(jsonFrame(`{"code":10,"opaque":5}`, 3)); err != nil {
		t.Fatal(err)
	}
	if r := readReply(t, peers[0]); len(r.Body) != 3 {
		t.Errorf("after the silence: body of %d bytes", len(r.Body))
	}
}
