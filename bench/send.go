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
	caseTime   = 8.0 // seconds a case
	warmTime   = 1.5 // seconds before each, not counted
	jvmWarm    = 12.0

	firstSendLimit = time.Minute
)

// shape is how a load is spread.
type shape struct{ connections, window, batch int }

func (s shape) String() string {
	if s.batch > 1 {
		return fmt.Sprintf("%d×%d batches of %d", s.connections, s.window, s.batch)
	}
	return fmt.Sprintf("%d×%d", s.connections, s.window)
}

func (b *bench) load(s shape, serial *atomic.Int64) wire.Load {
	return wire.Load{
		Addr: server.BrokerAddr, Topic: benchTopic, Broker: b.brokerName(), Corpus: b.corpus, Queues: queues,
		Connections: s.connections, Window: s.window, Batch: s.batch, Serial: serial,
	}
}

// asyncSession: start-up, pipelined sends, client sends, memory and disk under asynchronous flush.
func (b *bench) asyncSession(ctx context.Context) error {
	first := make(chan time.Time, 1)
	starting, cancel := context.WithTimeout(ctx, firstSendLimit)
	defer cancel()
	go b.firstSend(starting, first)
	s, err := b.start(ctx, server.Options{HotOnly: true})
	if err != nil {
		return err
	}
	select {
	case t := <-first:
		b.results.set("start", b.name, "ms", float64(t.Sub(s.Spawned))/1e6)
	case <-starting.Done():
		return errors.Join(fmt.Errorf("no send was taken within %s of the start", firstSendLimit), s.Stop())
	}
	err = b.asyncCases(ctx, s)
	return errors.Join(err, s.Stop())
}

// firstSend tries to send until it is taken: another process is watched, which
// has no way to tell.
func (b *bench) firstSend(ctx context.Context, first chan<- time.Time) {
	for ctx.Err() == nil {
		if wire.SendOne(server.BrokerAddr, benchTopic, b.brokerName(), b.corpus) == nil {
			first <- time.Now()
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (b *bench) asyncCases(ctx context.Context, s *server.Server) error {
	var serial atomic.Int64
	total := int64(1)
	if err := b.warm(ctx, &serial, &total); err != nil {
		return err
	}
	if b.wants("send") {
		for _, sh := range []shape{{1, 1, 0}, {1, 32, 0}, {8, 32, 0}, {32, 16, 0}, {8, 8, 32}} {
			if err := b.sendCase(ctx, s, "send async", sh, &serial, &total); err != nil {
				return err
			}
		}
	}
	if b.wants("client") {
		for _, callers := range []int{1, 16, 64} {
			if err := b.clientCase(ctx, s, callers, &total); err != nil {
				return err
			}
		}
	}
	if err := checkCount(total); err != nil {
		return err
	}
	m, err := s.Memory()
	if err != nil {
		return err
	}
	b.results.set("memory", b.name, "resident MiB", mib(m.Resident))
	b.results.set("memory", b.name, "anonymous MiB", mib(m.Anonymous))
	disk, err := s.HotBytes()
	if err != nil {
		return err
	}
	b.results.set("disk", b.name, "bytes/msg", float64(disk)/float64(total))
	return nil
}

// checkCount demands that the topic's queues hold at least what was acked (a
// refused send may be stored too). The real broker counts a moment later.
func checkCount(acked int64) error {
	c, err := wire.Dial(server.BrokerAddr)
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
		if sum >= acked {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d messages were acked and the queues hold %d", acked, sum)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// warm sends until the compiler of the JVM has done its work; Varve gets the same.
func (b *bench) warm(ctx context.Context, serial *atomic.Int64, total *int64) error {
	l := b.load(shape{8, 32, 0}, serial)
	l.Limit = b.seconds(jvmWarm)
	sent, err := l.Run(ctx)
	if err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	*total += sent.Messages
	return nil
}

func (b *bench) sendCase(ctx context.Context, s *server.Server, part string, sh shape, serial *atomic.Int64, total *int64) error {
	l := b.load(sh, serial)
	l.Limit = b.seconds(warmTime)
	sent, err := l.Run(ctx)
	if err != nil {
		return fmt.Errorf("%s %s: %w", part, sh, err)
	}
	*total += sent.Messages
	l.Limit = b.seconds(caseTime)
	stop := b.startProfile(s, part+" "+sh.String(), l.Limit)
	m, err := b.meter(s)
	if err != nil {
		return err
	}
	sent, err = l.Run(ctx)
	if err != nil {
		return fmt.Errorf("%s %s: %w", part, sh, err)
	}
	key := part + " " + sh.String()
	if err := b.done(m, key, sent.Messages, sent.Elapsed); err != nil {
		return err
	}
	stop()
	*total += sent.Messages
	b.latency(key, &sent.Latency)
	if sent.Refused > 0 {
		b.results.set(key, b.name, "refused", float64(sent.Refused))
		fmt.Printf("   %d requests refused, the last with %s\n", sent.Refused, sent.Refusal)
	}
	return nil
}

func (b *bench) latency(key string, h *wire.Histogram) {
	b.results.set(key, b.name, "p50 ms", float64(h.Quantile(0.5))/1e6)
	b.results.set(key, b.name, "p99 ms", float64(h.Quantile(0.99))/1e6)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// syncSession: pipelined sends where every ack waits for the disk.
func (b *bench) syncSession(ctx context.Context) error {
	s, err := b.start(ctx, server.Options{HotOnly: true, SyncFlush: true})
	if err != nil {
		return err
	}
	var serial atomic.Int64
	var total int64
	err = b.warm(ctx, &serial, &total)
	for _, sh := range []shape{{1, 1, 0}, {1, 32, 0}, {8, 32, 0}, {32, 16, 0}} {
		if err == nil {
			err = b.sendCase(ctx, s, "send sync", sh, &serial, &total)
		}
	}
	if err == nil {
		err = checkCount(total)
	}
	return errors.Join(err, s.Stop())
}

// clientCase: callers that each wait for their answer, through the Apache Go client.
func (b *bench) clientCase(ctx context.Context, s *server.Server, callers int, total *int64) error {
	p, err := rocketmq.NewProducer(
		producer.WithNameServer(primitive.NamesrvAddr{server.RouteAddr}),
		producer.WithGroupName("bench_client"), producer.WithRetry(0), producer.WithSendMsgTimeout(10*time.Second))
	if err != nil {
		return fmt.Errorf("making the client: %w", err)
	}
	if err := p.Start(); err != nil {
		return fmt.Errorf("starting the client: %w", err)
	}
	key := fmt.Sprintf("Go client sync, %d callers", callers)
	n, err := b.callers(ctx, p, callers, b.seconds(warmTime), nil)
	*total += n
	var h wire.Histogram
	var m *meter
	if err == nil {
		m, err = b.meter(s)
	}
	if err == nil {
		n, err = b.callers(ctx, p, callers, b.seconds(caseTime), &h)
	}
	if err == nil {
		err = b.done(m, key, n, time.Since(m.begun))
	}
	if err := errors.Join(err, p.Shutdown()); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	*total += n
	b.latency(key, &h)
	return nil
}

func (b *bench) callers(ctx context.Context, p rocketmq.Producer, callers int, limit time.Duration, h *wire.Histogram) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var n, serial atomic.Int64
	errs := make([]error, callers)
	parts := make([]wire.Histogram, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				m := primitive.NewMessage(benchTopic, b.corpus.Append(nil, serial.Add(1)))
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
	return n.Load(), errors.Join(errs...)
}

// startProfile has Varve profile itself during a case; the returned function waits for the file.
func (b *bench) startProfile(s *server.Server, name string, d time.Duration) func() {
	if !b.profile || b.name != "varve" {
		return func() {}
	}
	done := make(chan error, 1)
	go func() { done <- saveProfile(filepath.Join(b.work, "profiles", fileName(name)+".pprof"), d) }()
	return func() {
		if err := <-done; err != nil {
			fmt.Println("   no profile:", err)
		}
	}
}

func saveProfile(name string, d time.Duration) error {
	resp, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", server.HTTPAddr, max(int(d.Seconds()), 1)))
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
