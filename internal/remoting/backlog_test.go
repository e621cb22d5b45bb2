package remoting

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
)

// Where much waits on all connections, each is read on for little; one that
// takes its replies is always read on.
func TestManySlowReadersHaveLittleEach(t *testing.T) {
	const each, slow = 50_000, 20
	synctest.Test(t, func(t *testing.T) {
		all := &backlog{limit: 1 << 20}
		var mu sync.Mutex
		counts := map[*Conn]int{}
		handled := func(c *Conn, more int) int {
			mu.Lock()
			defer mu.Unlock()
			counts[c] += more
			return counts[c]
		}
		h := func(c *Conn, req *Command) {
			handled(c, 1)
			c.Reply(req.From(), &Command{Body: make([]byte, each)})
		}
		ask := func(peer net.Conn, n int) {
			for range n {
				if _, err := peer.Write(jsonFrame(`{"code":10,"opaque":5}`, 0)); err != nil {
					return
				}
			}
		}
		type end struct {
			peer net.Conn
			done <-chan struct{}
		}
		var ends []end
		for i := range slow {
			c, peer, done := pipeConn(h, Config{writing: all})
			ends = append(ends, end{peer, done})
			go ask(peer, 1000)
			synctest.Wait()
			if n, most := handled(c, 0), crampedHigh/each+2; i > 0 && n > most {
				t.Errorf("slow connection %d: %d requests handled, want at most %d", i, n, most)
			}
		}
		if got := all.bytes.Load(); got < all.limit || got > 8<<20+slow*(crampedHigh+2*each) {
			t.Errorf("%d bytes wait", got)
		}
		c, peer, done := pipeConn(h, Config{writing: all})
		go ask(peer, 100)
		for range 100 {
			if r := readReply(t, peer); len(r.Body) != each {
				t.Fatalf("reply of %d bytes", len(r.Body))
			}
		}
		if n := handled(c, 0); n != 100 {
			t.Errorf("%d requests handled of the one that reads", n)
		}
		for _, e := range append(ends, end{peer, done}) {
			_ = e.peer.Close()
			<-e.done
		}
		synctest.Wait()
		if n := all.bytes.Load(); n != 0 {
			t.Errorf("%d bytes wait on no connection", n)
		}
	})
}
