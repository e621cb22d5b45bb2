package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"time"
)

// meter measures who takes the machine's cores during a case: the server, this
// process, and all others (the kernel's own threads among them). A case beside
// a busy third party isn't worth much, so the page says how busy it was.
type meter struct {
	begun       time.Time
	cpu, own    time.Duration
	machineBusy time.Duration
}

func (s *subject) meter() (*meter, error) {
	m := &meter{begun: time.Now()}
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
func (s *subject) done(m *meter, key string, n int64, elapsed time.Duration) error {
	wall := time.Since(m.begun)
	cpu, err := s.CPU()
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
	s.set(key, "msg/s", float64(n)/elapsed.Seconds())
	s.set(key, "µs CPU/msg", each(cpu))
	s.set(key, "driver µs CPU/msg", each(own))
	s.set(key, "others' cores", max(busy-cpu-own, 0).Seconds()/wall.Seconds())
	return nil
}

// Where the kernel counts the time of all cores together.
const (
	timeIdle   = 3
	timeWait   = 4
	timeStolen = 7 // the host gave the core to somebody else
	timeGuest  = 8 // and what follows is counted in user time already
)

// machineBusy is the time that all cores together have not been idle.
func machineBusy() (time.Duration, error) {
	var busy time.Duration
	times, err := machineTimes()
	for i, d := range times {
		if i != timeIdle && i != timeWait && i != timeStolen && i < timeGuest {
			busy += d
		}
	}
	return busy, err
}

// stolenTime is the time that the host has kept cores from this machine.
func stolenTime() (time.Duration, error) {
	times, err := machineTimes()
	if err != nil || len(times) <= timeStolen {
		return 0, err
	}
	return times[timeStolen], nil
}

func machineTimes() ([]time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, fmt.Errorf("reading the machine's CPU time: %w", err)
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	var times []time.Duration
	for _, f := range bytes.Fields(line)[1:] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("reading the machine's CPU time: %q", line)
		}
		times = append(times, time.Duration(n)*(time.Second/100))
	}
	return times, nil
}

const (
	calibrationBytes = 64 << 10 // fits every core's cache
	calibrationTurns = 600
)

// calibrate is how long this machine takes just now for a fixed piece of work.
// Where it differs between rounds the machine's speed does, not the servers'.
func calibrate() time.Duration {
	block := make([]byte, calibrationBytes)
	start := time.Now()
	for range calibrationTurns {
		sum := sha256.Sum256(block)
		copy(block, sum[:])
	}
	return time.Since(start)
}
