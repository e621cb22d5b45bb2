package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	coldReaderArg = "cold-reader"
	hurtRate      = 5_000 // paced sends a second beside the cold reader
	hurtTime      = 12.0
	readerNice    = 10 // the reader's own work is the client's; the cores belong to the servers
)

// historySession: the connector over a backlog, the archive's size, cold
// catch-up, and what a cold reader does to sends. Only Varve has these.
func (b *bench) historySession(ctx context.Context) error {
	n := b.count(million)
	s, err := b.start(ctx, server.Options{HotOnly: true})
	if err != nil {
		return err
	}
	if err := errors.Join(b.fill(ctx, n), s.Stop()); err != nil {
		return err
	}
	idle, err := b.startCost(ctx)
	if err != nil {
		return err
	}
	if s, err = b.restart(ctx, server.Options{}); err != nil {
		return err
	}
	err = b.connectorCase(ctx, s, n, idle)
	if err == nil {
		err = s.TrimAll(ctx)
	}
	if err == nil && b.wants("cold") {
		c := wire.Catchup{Addr: server.BrokerAddr, History: server.HistoryAddr}
		err = b.pullCase(ctx, s, "cold catch-up", n, c)
	}
	if err == nil && b.wants("hurt") {
		err = b.hurtCase(ctx, s, n)
	}
	return errors.Join(err, s.Stop())
}

// startCost is the CPU time of a start over the backlog without a connector.
func (b *bench) startCost(ctx context.Context) (time.Duration, error) {
	s, err := b.restart(ctx, server.Options{HotOnly: true})
	if err != nil {
		return 0, err
	}
	cpu, err := s.CPU()
	return cpu, errors.Join(err, s.Stop())
}

// connectorCase archives the backlog and compares the bytes a CPU-second with a bare Parquet writer's.
func (b *bench) connectorCase(ctx context.Context, s *server.Server, n int64, idle time.Duration) error {
	stop := b.startProfile(s, "connector", 5*time.Second)
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
	bare, err := bareWriter(b, n)
	if err != nil {
		return err
	}
	bytes := float64(n * bodySize)
	key := "connector"
	b.results.set(key, b.name, "MB/s", bytes/1e6/elapsed.Seconds())
	b.results.set(key, b.name, "MB/CPU-s", bytes/1e6/(cpu-idle).Seconds())
	b.results.set(key, b.name, "start CPU-s", idle.Seconds())
	b.results.set(key, b.name, "bare MB/CPU-s", bytes/1e6/bare.Seconds())
	b.results.set(key, b.name, "peak MiB", mib(m.Peak))
	b.results.set("disk", b.name, "archive bytes/msg", float64(cold)/float64(n))
	b.results.set("disk", b.name, "archive % of hot", 100*float64(cold)/float64(hot))
	return nil
}

// hurtCase sends at a steady pace without and with a cold reader that never rests.
func (b *bench) hurtCase(ctx context.Context, s *server.Server, n int64) error {
	var serial atomic.Int64
	serial.Store(n)
	l := b.load(shape{8, 32, 0}, &serial)
	l.Topic = benchTopic + "_live"
	l.PerSecond, l.Limit = hurtRate, b.seconds(hurtTime)
	for _, key := range []string{"paced sends alone", "paced sends, cold reader flat out"} {
		var reader *exec.Cmd
		if key != "paced sends alone" {
			reader = exec.CommandContext(ctx, "/proc/self/exe", coldReaderArg, strconv.FormatInt(n, 10))
			reader.Stdout, reader.Stderr = os.Stdout, os.Stderr
			reader.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := reader.Start(); err != nil {
				return fmt.Errorf("starting the cold reader: %w", err)
			}
		}
		m, err := b.meter(s)
		if err != nil {
			return err
		}
		sent, err := l.Run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if err := b.done(m, key, sent.Messages, sent.Elapsed); err != nil {
			return err
		}
		if reader != nil {
			if err := reader.Process.Signal(syscall.SIGTERM); err != nil {
				return fmt.Errorf("the cold reader ended by itself: %w", err)
			}
			_ = reader.Wait() // ended by our signal
		}
		b.latency(key, &sent.Latency)
	}
	return nil
}

// coldReader reads everything over and over until it is ended.
func coldReader(args []string) error {
	if len(args) != 1 {
		return errors.New("want the number of messages")
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
			Addr: server.BrokerAddr, History: server.HistoryAddr, Topic: benchTopic, Queues: queues, PullBatch: pullBatch, Messages: n,
		}
		if _, err := c.Run(context.Background()); err != nil {
			return err
		}
	}
}
