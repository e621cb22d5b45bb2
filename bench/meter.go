package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"varve/e2e/server"
)

// meter measures who takes the machine's cores during a case: the server, this
// process, and all others (the kernel's own threads among them). A case beside
// a busy third party isn't worth much, so the page says how busy it was.
type meter struct {
	server      *server.Server
	begun       time.Time
	cpu, own    time.Duration
	machineBusy time.Duration
}

func (b *bench) meter(s *server.Server) (*meter, error) {
	m := &meter{server: s, begun: time.Now()}
	var err error
	if m.cpu, err = s.CPU(); err != nil {
		return nil, err
	}
	if m.own, err = ownCPU(); err != nil {
		return nil, err
	}
	m.machineBusy, err = machineBusy()
	return m, err
}

// done records a case of n messages that took elapsed.
func (b *bench) done(m *meter, key string, n int64, elapsed time.Duration) error {
	wall := time.Since(m.begun)
	cpu, err := m.server.CPU()
	if err != nil {
		return err
	}
	own, err := ownCPU()
	if err != nil {
		return err
	}
	busy, err := machineBusy()
	if err != nil {
		return err
	}
	cpu, own, busy = cpu-m.cpu, own-m.own, busy-m.machineBusy
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(max(n, 1)) }
	b.results.set(key, b.name, "msg/s", float64(n)/elapsed.Seconds())
	b.results.set(key, b.name, "µs CPU/msg", each(cpu))
	b.results.set(key, b.name, "driver µs CPU/msg", each(own))
	b.results.set(key, b.name, "others' cores", max(busy-cpu-own, 0).Seconds()/wall.Seconds())
	return nil
}

// machineBusy is the time that all cores together have not been idle.
func machineBusy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading the machine's CPU time: %w", err)
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	var busy int64
	for i, f := range bytes.Fields(line)[1:] {
		const idle, wait, guest = 3, 4, 8 // guest time is in user time already
		if i == idle || i == wait || i >= guest {
			continue
		}
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the machine's CPU time: %q", line)
		}
		busy += n
	}
	return time.Duration(busy) * (time.Second / 100), nil
}
