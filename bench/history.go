package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	coldReaderArg = "cold-reader"
	hurtRate      = 5_000 // paced sends a second beside the cold reader
	hurtTime      = 5.0
	readerNice    = 10 // the reader's own work is the client's; the cores belong to the servers
)

// historySession: catching up on a million messages by pulls and by the push
// consumer, then what only Varve has: the connector over that backlog, the
// archive's size, cold catch-up beside their hot one, and what a cold reader
// does to sends.
func historySession() session {
	return session{options: server.Options{HotOnly: true}, cases: []benchCase{
		{name: "filling", run: fill},
		{name: "pull catch-up", parts: []string{"pull"}, run: catchUp},
		{name: "Go push consumer", parts: []string{"push"}, run: pushCase},
		{name: "connector", parts: []string{"connector", "cold", "hurt"}, only: varve, once: true, run: connectorCase},
		{name: "cold catch-up", parts: []string{"cold"}, run: coldCatchUp},
		{name: "paced sends", parts: []string{"hurt"}, only: varve, run: hurtCase},
	}}
}

// startCost is the CPU time of a start over the backlog without a connector.
func (s *subject) startCost(ctx context.Context) (time.Duration, error) {
	if err := s.restart(ctx, server.Options{HotOnly: true}); err != nil {
		return 0, err
	}
	return s.CPU()
}

// connectorCase archives the backlog and compares the bytes a CPU-second with a
// bare Parquet writer's, half of whose work comes before and half after. It
// leaves a server of all roles whose hot log is trimmed.
func connectorCase(ctx context.Context, s *subject) error {
	n := s.count(million)
	bare, err := bareWriter(s.bench, n, 0, queues/2)
	if err != nil {
		return err
	}
	idle, err := s.startCost(ctx)
	if err != nil {
		return err
	}
	if err := s.restart(ctx, server.Options{}); err != nil {
		return err
	}
	stop := s.startProfile("connector", 5*time.Second)
	start := time.Now()
	if err := s.ArchiveAll(ctx); err != nil {
		return fmt.Errorf("archiving the backlog: %w", err)
	}
	elapsed := time.Since(start)
	// All since the process began, less a start without a connector.
	cpu, err := s.CPU()
	if err != nil {
		return err
	}
	stop()
	m, err := s.Memory()
	if err != nil {
		return err
	}
	hot, err := s.HotBytes()
	if err != nil {
		return err
	}
	cold, err := server.DiskBytes(s.Archive)
	if err != nil {
		return err
	}
	rest, err := bareWriter(s.bench, n, queues/2, queues)
	if err != nil {
		return err
	}
	bytes := float64(n * bodySize)
	key := "connector"
	s.set(key, "MB/s", bytes/1e6/elapsed.Seconds())
	s.set(key, "MB/CPU-s", bytes/1e6/(cpu-idle).Seconds())
	s.set(key, "start CPU-s", idle.Seconds())
	s.set(key, "bare MB/CPU-s", bytes/1e6/(bare+rest).Seconds())
	s.set(key, "peak MiB", mib(m.Peak))
	s.set("disk", "archive bytes/msg", float64(cold)/float64(n))
	s.set("disk", "archive % of hot", 100*float64(cold)/float64(hot))
	return s.TrimAll(ctx)
}

// coldCatchUp reads all from the archive twice, the first time by a server that
// has just started and caches nothing. The real broker, which has no archive,
// reads the same from its hot log.
func coldCatchUp(ctx context.Context, s *subject) error {
	const name = "cold catch-up"
	if s.name == apache {
		if err := s.pull(ctx, false); err != nil {
			return err
		}
		return s.pull(ctx, false, name+", nothing cached", name)
	}
	if err := s.restart(ctx, server.Options{}); err != nil {
		return err
	}
	if err := s.pull(ctx, true, name+", nothing cached"); err != nil {
		return err
	}
	stop := s.startProfile(name, 3*time.Second)
	defer stop()
	return s.pull(ctx, true, name)
}

// hurtCase sends at a steady pace without and with a cold reader that never rests.
func hurtCase(ctx context.Context, s *subject) error {
	l := s.load(shape{8, 32, 0})
	l.Topic = benchTopic + "_live"
	l.PerSecond, l.Limit = hurtRate, s.seconds(hurtTime)
	for _, key := range []string{"paced sends alone", "paced sends, cold reader flat out"} {
		var reader *exec.Cmd
		if key != "paced sends alone" {
			reader = exec.CommandContext(ctx, "/proc/self/exe", coldReaderArg,
				strconv.FormatInt(s.count(million), 10), s.Addrs.Broker, s.Addrs.History)
			reader.Stdout, reader.Stderr = os.Stdout, os.Stderr
			reader.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := reader.Start(); err != nil {
				return fmt.Errorf("starting the cold reader: %w", err)
			}
		}
		stop := s.startProfile(key, l.Limit)
		m, err := s.meter()
		if err != nil {
			return err
		}
		sent, err := l.Run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if err := s.done(m, key, sent.Messages, sent.Elapsed); err != nil {
			return err
		}
		stop()
		if reader != nil {
			if err := reader.Process.Signal(syscall.SIGTERM); err != nil {
				return fmt.Errorf("the cold reader ended by itself: %w", err)
			}
			_ = reader.Wait() // ended by our signal
		}
		s.latency(key, &sent.Latency)
	}
	return nil
}

// coldReader reads everything over and over until it is ended.
func coldReader(args []string) error {
	if len(args) != 3 {
		return errors.New("want the number of messages and the addresses of broker and history node")
	}
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return fmt.Errorf("number of messages: %w", err)
	}
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, readerNice); err != nil {
		return fmt.Errorf("lowering the own priority: %w", err)
	}
	for {
		c := wire.Catchup{
			Addr: args[1], History: args[2], Topic: benchTopic, Queues: queues, PullBatch: pullBatch, Messages: n,
		}
		if _, err := c.Run(context.Background()); err != nil {
			return err
		}
	}
}
