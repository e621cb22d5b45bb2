package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// callLimit bounds what the harness is asked for.
const callLimit = 2 * time.Minute

// harness is the line protocol with the process that started this one.
type harness struct {
	mu   sync.Mutex
	out  io.Writer
	next int
	open map[int]chan []string
}

func newHarness(in io.Reader, out io.Writer) *harness {
	h := &harness{out: out, open: map[int]chan []string{}}
	go h.read(in)
	return h
}

func (h *harness) read(in io.Reader) {
	sc := bufio.NewScanner(in)
	for sc.Scan() {
		f := strings.SplitN(sc.Text(), "\t", 3)
		n, err := strconv.Atoi(f[0])
		if err != nil || len(f) < 2 {
			continue
		}
		h.mu.Lock()
		if c := h.open[n]; c != nil {
			c <- f
			delete(h.open, n)
		}
		h.mu.Unlock()
	}
}

// call asks the harness to do something.
func (h *harness) call(verb, argument string) error {
	answer := make(chan []string, 1)
	h.mu.Lock()
	h.next++
	h.open[h.next] = answer
	fmt.Fprintf(h.out, "CALL\t%d\t%s\t%s\n", h.next, verb, argument)
	h.mu.Unlock()
	select {
	case f := <-answer:
		if f[1] == "ok" {
			return nil
		}
		return fmt.Errorf("%s %s: %s", verb, argument, strings.Join(f[1:], " "))
	case <-time.After(callLimit):
		return fmt.Errorf("%s %s: no answer after %v", verb, argument, callLimit)
	}
}

func (h *harness) result(name, verdict string, took time.Duration, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Fprintf(h.out, "RESULT\t%s\t%s\t%d\t%s\n", name, verdict, took.Milliseconds(), strings.ReplaceAll(detail, "\t", " "))
}
