package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	benchTopic = "bench_orders"
	queues     = 4
	caseTime   = 2.5 // seconds a round
	warmTime   = 0.7 // seconds before each, not counted
	jvmWarm    = 8.0 // seconds once after a start
)

// shape is how a load is spread.
type shape struct{ connections, window, batch int }

func (s shape) String() string {
	if s.batch > 1 {
		return fmt.Sprintf("%d×%d batches of %d", s.connections, s.window, s.batch)
	}
	return fmt.Sprintf("%d×%d", s.connections, s.window)
}

func (s *subject) load(sh shape) wire.Load {
	return wire.Load{
		Addr: s.Addrs.Broker, Topic: benchTopic, Broker: s.brokerName(), Corpus: s.corpus, Queues: queues,
		Connections: sh.connections, Window: sh.window, Batch: sh.batch, Serial: &s.serial,
	}
}

// asyncSession: start-up, pipelined sends, client sends, memory and disk under asynchronous flush.
func asyncSession() session {
	ses := session{options: server.Options{HotOnly: true}, timeStart: true}
	ses.cases = append(ses.cases, benchCase{name: "warm-up", run: warm})
	for _, sh := range []shape{{1, 1, 0}, {1, 32, 0}, {8, 32, 0}, {32, 16, 0}, {8, 8, 32}} {
		ses.cases = append(ses.cases, sendCase("send async", "send", sh))
	}
	for _, callers := range []int{1, 16, 64} {
		ses.cases = append(ses.cases, clientCase(callers))
	}
	ses.cases = append(ses.cases, benchCase{name: "memory and disk", run: holds})
	return ses
}

// syncSession: pipelined sends where every ack waits for the disk.
func syncSession() session {
	ses := session{options: server.Options{HotOnly: true, SyncFlush: true}}
	ses.cases = append(ses.cases, benchCase{name: "warm-up", run: warm})
	for _, sh := range []shape{{1, 1, 0}, {1, 32, 0}, {8, 32, 0}, {32, 16, 0}} {
		ses.cases = append(ses.cases, sendCase("send sync", "sync", sh))
	}
	ses.cases = append(ses.cases, benchCase{name: "count", run: func(_ context.Context, s *subject) error { return s.checkCount() }})
	return ses
}

// holds: what the server keeps in memory and on disk after the sends.
func holds(_ context.Context, s *subject) error {
	if err := s.checkCount(); err != nil {
		return err
	}
	m, err := s.Memory()
	if err != nil {
		return err
	}
	s.set("memory", "resident MiB", mib(m.Resident))
	s.set("memory", "anonymous MiB", mib(m.Anonymous))
	disk, err := s.HotBytes()
	if err != nil {
		return err
	}
	s.set("disk", "bytes/msg", float64(disk)/float64(s.total))
	return nil
}

// checkCount demands that the topic's queues hold at least what was acked (a
// refused send may be stored too). The real broker counts a moment later.
func (s *subject) checkCount() error {
	c, err := wire.Dial(s.Addrs.Broker)
	if err != nil {
		return err
	}
	defer c.Close()
	deadline := time.Now().Add(20 * time.Second)
	for {
		var sum int64
		for q := range queues {
			first, next, err := c.Bounds(benchTopic, q)
			if err != nil {
				return err
			}
			sum += next - first
		}
		if sum >= s.total {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d messages were acked and the queues hold %d", s.total, sum)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// warm sends until the compiler of the JVM has done its work; Varve gets the same.
func warm(ctx context.Context, s *subject) error {
	_, err := s.send(ctx, s.load(shape{8, 32, 0}), jvmWarm)
	return err
}

// send runs a load for a time and counts what was acked.
func (s *subject) send(ctx context.Context, l wire.Load, seconds float64) (*wire.Sent, error) {
	l.Limit = s.seconds(seconds)
	sent, err := l.Run(ctx)
	if err != nil {
		return nil, err
	}
	s.total += sent.Messages
	return sent, nil
}

// sendCase: pipelined sends over some connections.
func sendCase(name, part string, sh shape) benchCase {
	name += " " + sh.String()
	return benchCase{name: name, parts: []string{part}, run: func(ctx context.Context, s *subject) error {
		_, err := s.timeSends(ctx, name, s.load(sh))
		return err
	}}
}

// timeSends runs a load for a moment and then for the time that counts.
func (s *subject) timeSends(ctx context.Context, name string, l wire.Load) (int64, error) {
	first, err := s.send(ctx, l, warmTime)
	if err != nil {
		return 0, err
	}
	stop := s.startProfile(name, s.seconds(caseTime))
	m, err := s.meter()
	if err != nil {
		return 0, err
	}
	sent, err := s.send(ctx, l, caseTime)
	if err != nil {
		return 0, err
	}
	if err := s.done(m, name, sent.Messages, sent.Elapsed); err != nil {
		return 0, err
	}
	stop()
	s.latency(name, &sent.Latency)
	if sent.Refused > 0 {
		s.set(name, "refused", float64(sent.Refused))
		fmt.Printf("   %d requests refused, the last with %s\n", sent.Refused, sent.Refusal)
	}
	return first.Messages + sent.Messages, nil
}

func (s *subject) latency(name string, h *wire.Histogram) {
	s.set(name, "p50 ms", float64(h.Quantile(0.5))/1e6)
	s.set(name, "p99 ms", float64(h.Quantile(0.99))/1e6)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// clientCase: callers that each wait for their answer, through the Apache Go client.
func clientCase(callers int) benchCase {
	name := fmt.Sprintf("Go client sync, %d callers", callers)
	return benchCase{name: name, parts: []string{"client"}, run: func(ctx context.Context, s *subject) error {
		return s.clientSends(ctx, name, callers)
	}}
}

func (s *subject) clientSends(ctx context.Context, name string, callers int) error {
	p, err := rocketmq.NewProducer(
		producer.WithNameServer(primitive.NamesrvAddr{s.Addrs.Route}),
		producer.WithGroupName("bench_client"), producer.WithInstanceName(fmt.Sprintf("%s-%d-%d", s.name, callers, s.round)),
		producer.WithRetry(0), producer.WithSendMsgTimeout(10*time.Second))
	if err != nil {
		return fmt.Errorf("making the client: %w", err)
	}
	if err := p.Start(); err != nil {
		return fmt.Errorf("starting the client: %w", err)
	}
	_, err = s.callers(ctx, p, callers, s.seconds(warmTime), nil)
	stop := s.startProfile(name, s.seconds(caseTime))
	var h wire.Histogram
	var m *meter
	var n int64
	if err == nil {
		m, err = s.meter()
	}
	if err == nil {
		n, err = s.callers(ctx, p, callers, s.seconds(caseTime), &h)
	}
	if err == nil {
		err = s.done(m, name, n, time.Since(m.begun))
	}
	stop()
	if err := errors.Join(err, p.Shutdown()); err != nil {
		return err
	}
	s.latency(name, &h)
	return nil
}

func (s *subject) callers(ctx context.Context, p rocketmq.Producer, callers int, limit time.Duration, h *wire.Histogram) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var n, serial atomic.Int64
	errs := make([]error, callers)
	parts := make([]wire.Histogram, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				m := primitive.NewMessage(benchTopic, s.corpus.Append(nil, serial.Add(1)))
				start := time.Now()
				if _, err := p.SendSync(context.Background(), m); err != nil {
					errs[i] = err
					return
				}
				parts[i].Add(time.Since(start))
				n.Add(1)
			}
		})
	}
	wg.Wait()
	for i := range parts {
		if h != nil {
			h.Merge(&parts[i])
		}
	}
	s.total += n.Load()
	return n.Load(), errors.Join(errs...)
}

// startProfile has Varve profile itself during the last round of a case; the returned function waits for the file.
func (s *subject) startProfile(name string, d time.Duration) func() {
	if !s.profile || s.name != varve || !s.last {
		return func() {}
	}
	done := make(chan error, 1)
	go func() {
		done <- saveProfile(s.Addrs.HTTP, filepath.Join(s.work, "profiles", fileName(name)+".pprof"), d)
	}()
	return func() {
		if err := <-done; err != nil {
			fmt.Println("   no profile:", err)
		}
	}
}

func saveProfile(addr, name string, d time.Duration) error {
	resp, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", addr, max(int(d.Seconds()), 1)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s", resp.Status)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
