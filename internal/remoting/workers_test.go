package remoting

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// One function after the other runs on one goroutine; an idle one ends after a
// while, and all of them with close.
func TestWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(workers)
		idle := func() int {
			synctest.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(w.idle)
		}
		for range 10 {
			done := make(chan struct{})
			w.run(func() { close(done) })
			<-done
			if n := idle(); n != 1 {
				t.Fatalf("%d idle workers after one function at a time, want 1", n)
			}
		}
		const many = 2 * keptWorkers
		start := make(chan struct{})
		var wg sync.WaitGroup
		for range many {
			wg.Add(1)
			w.run(func() { <-start; wg.Done() })
		}
		close(start)
		wg.Wait()
		if n := idle(); n != keptWorkers {
			t.Fatalf("%d idle workers after %d functions at once, want %d", n, many, keptWorkers)
		}
		for range 3 { // what is needed stays
			time.Sleep(workerIdle)
			w.run(func() {})
		}
		if n := idle(); n != 1 {
			t.Fatalf("%d idle workers where one is needed", n)
		}
		time.Sleep(2 * workerIdle)
		if n := idle(); n != 0 {
			t.Fatalf("%d idle workers long after the last function", n)
		}
		w.run(func() {})
		w.run(func() {})
		if n := idle(); n == 0 {
			t.Fatal("none idle")
		}
		w.close()
		w.run(func() {})
		if n := idle(); n != 0 {
			t.Fatalf("%d idle workers after close", n)
		}
		// The bubble ends only if no worker is left.
	})
}

// TestBodiesComeBack answers with bodies that are overwritten when they come
// back: none of them may come back before it is written, none twice.
func TestBodiesComeBack(t *testing.T) {
	const calls, clients = 200, 4
	var mu sync.Mutex
	out := 0
	addr := serve(t, func(c *Conn, req *Command) {
		from, size, fill := req.From(), int(req.Body[0])<<9, req.Body[1]
		c.Do(from, func() {
			body := bytes.Repeat([]byte{fill}, size)
			mu.Lock()
			out++
			mu.Unlock()
			freed := false
			reply := c.Reply
			if size>>9%2 == 1 {
				reply = c.ReplyHere
			}
			reply(from, &Command{Body: body, Free: func() {
				mu.Lock()
				defer mu.Unlock()
				if freed {
					t.Error("a body came back twice")
				}
				freed = true
				out--
				clear(body)
			}})
		})
	}, Config{})
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			c := dial(t, addr, ClientConfig{})
			for i := range calls {
				req := NewRequest(1)
				req.Body = []byte{byte(i), byte(n + 1)}
				r, err := c.Call(t.Context(), req)
				if err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(r.Body, bytes.Repeat([]byte{byte(n + 1)}, i<<9)) {
					t.Errorf("a body of %d bytes came back before it was written", i<<9)
				}
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if out > clients { // the last one of each may still be at it
		t.Errorf("%d bodies didn't come back", out)
	}
}

// What is never written comes back at once, or not at all.
func TestUnsentBodiesComeBack(t *testing.T) {
	back := make(chan string, 3)
	addr := serve(t, func(c *Conn, req *Command) {
		reply := func(to From, name string) {
			c.Reply(to, &Command{Body: make([]byte, 100_000), Free: func() { back <- name }})
		}
		from := req.From()
		from.OneWay = true
		reply(from, "one-way")
		c.Reply(req.From(), &Command{Body: []byte("small"), Free: func() { back <- "copied" }})
		_ = c.Close()
		reply(req.From(), "closed")
	}, Config{})
	nc := rawPeer(t, addr)
	if _, err := nc.Write(jsonFrame(`{"code":10,"opaque":5}`, 1)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one-way", "copied", "closed"} {
		if got := <-back; got != want {
			t.Errorf("%s came back, want %s", got, want)
		}
	}
}
