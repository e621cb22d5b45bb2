package intake_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"varve/internal/intake"
)

// pipes is a listener whose clients are at the other ends of pipes.
type pipes struct {
	come chan net.Conn
	end  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.come:
		return c, nil
	case <-p.end:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.end); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// post begins a request of so many bytes and sends some of them; the answer
// comes over the channel.
func (p *pipes) post(t *testing.T, length, sent int) (net.Conn, <-chan string) {
	t.Helper()
	here, there := net.Pipe()
	p.come <- there
	answer := make(chan string, 1)
	go func() {
		r, err := http.ReadResponse(bufio.NewReader(here), nil)
		if err != nil {
			answer <- err.Error()
			return
		}
		text, _ := io.ReadAll(r.Body)
		answer <- fmt.Sprint(r.StatusCode, " ", string(text))
	}()
	go func() {
		_, _ = fmt.Fprintf(here, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", length)
		_, _ = here.Write(make([]byte, sent))
	}()
	synctest.Wait()
	return here, answer
}

// serve answers how long a body was, or why it wasn't read.
func serve(t *testing.T, b *intake.Budget) (p *pipes, end func()) {
	p = &pipes{make(chan net.Conn), make(chan struct{})}
	srv := &http.Server{ReadTimeout: time.Hour, Handler: intake.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		switch {
		case errors.Is(err, intake.ErrFull):
			w.WriteHeader(http.StatusServiceUnavailable)
		case errors.Is(err, intake.ErrSlow):
			w.WriteHeader(http.StatusRequestTimeout)
		case err != nil:
			t.Errorf("body: %v", err)
		}
		fmt.Fprint(w, n)
	}), b)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(p) }()
	return p, func() {
		_ = srv.Close()
		<-done
		time.Sleep(time.Minute) // the bubble's: net/http lingers
	}
}

// Bodies that trickle hold what the budget says and no longer than a step; small
// ones don't wait, and large ones have their turn.
func TestBodiesTakeOfTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const large = 4 << 20
		budget := intake.New(1<<20, 1)
		p, end := serve(t, budget)
		begun := time.Now()
		var slow []<-chan string
		for range 4 { // 512 KiB each, of which there is room for two, and a place for one
			_, answer := p.post(t, large, 512<<10)
			slow = append(slow, answer)
		}
		if _, answer := p.post(t, 60<<10, 60<<10); <-answer != "200 61440" || time.Since(begun) != 0 {
			t.Errorf("a small body beside them was answered after %s", time.Since(begun))
		}
		_, answer := p.post(t, large, large)
		for i, a := range slow {
			if got := <-a; got[:3] != "408" || time.Since(begun) > 3*intake.StepTime {
				t.Errorf("body %d that trickles, after %s: %s", i, time.Since(begun), got)
			}
		}
		if got := <-answer; got != fmt.Sprint("200 ", large) {
			t.Errorf("a whole body: %s", got)
		}
		end()
		if !budget.Untaken(1<<20, 1) {
			t.Error("the requests that ended hold some of the budget")
		}
	})
}

// Who finds no room in time is told so.
func TestABodyWithoutRoomIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := intake.New(1, 0)
		p, end := serve(t, budget)
		defer end()
		_, answer := p.post(t, 1<<20, 1<<20)
		begun := time.Now()
		if got := <-answer; got[:3] != "503" || time.Since(begun) != time.Minute {
			t.Errorf("after %s: %s", time.Since(begun), got)
		}
	})
}
