package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"

	"varve/e2e/corpus"
	"varve/e2e/faulty"
	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	bucketColumn   = "Archive on S3 (MinIO)"
	bucketName     = "varve-interop"
	proxyAddr      = "127.0.0.1:9100"
	bucketQueues   = 4
	bucketMessages = 30_000
	faultLimit     = 30 * time.Second // a fault ends at the latest then
	outageTime     = 15 * time.Second
)

// bucketRun is Varve with its archive on MinIO behind the proxy.
type bucketRun struct {
	cfg    config
	page   *page
	minio  *server.Minio
	proxy  *faulty.Proxy
	varve  *server.Server
	corpus *corpus.Corpus
}

func (b *bucketRun) options(bucket, secret string) server.Options {
	return server.Options{
		RollAge: time.Second,
		S3:      &server.S3{Endpoint: b.proxy.Addr(), Bucket: bucket, AccessKey: server.MinioKey, SecretKey: secret},
		Env:     append([]string{"VARVE_CONNECTOR_ROLL_BYTES=2MiB", "VARVE_HISTORY_CACHE=64MiB", "VARVE_HISTORY_MEMORY=16MiB"}, smallSegments...),
	}
}

// runBucket checks that no fault of the bucket loses or doubles a message.
func runBucket(ctx context.Context, c config, p *page) (err error) {
	b := &bucketRun{cfg: c, page: p, corpus: corpus.New(1024, 3)}
	if b.minio, err = server.StartMinio(ctx, filepath.Join(c.cache, "minio"), filepath.Join(c.work, "minio")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.minio.Stop()) }()
	if b.proxy, err = faulty.Start(proxyAddr, server.MinioAddr); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.proxy.Close()) }()
	if err := makeBucket(ctx, bucketName, minio.MakeBucketOptions{}); err != nil {
		return err
	}
	if err := makeBucket(ctx, lockBucket, minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		return err
	}
	if err := makeBucket(ctx, userBucket, minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		return err
	}
	b.restricted(ctx)
	if slices.Equal(c.scenarios, []string{userBucket}) {
		return nil
	}
	b.conformance(ctx)
	b.refusals(ctx)
	if b.varve, err = c.start(ctx, "s3", b.options(bucketName, server.MinioSecret)); err != nil {
		return err
	}
	b.faults(ctx)
	b.legalHolds(ctx)
	return b.varve.Stop()
}

func makeBucket(ctx context.Context, name string, o minio.MakeBucketOptions) error {
	m, err := minioClient()
	if err != nil {
		return err
	}
	var last error
	for range 50 { // MinIO's port is open a moment before it serves
		if last = m.MakeBucket(ctx, name, o); last == nil {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return fmt.Errorf("making the bucket: %w", last)
}

// conformance: the bucket's own contract suite, on the server itself.
func (b *bucketRun) conformance(ctx context.Context) {
	_ = b.page.try("the bucket's contract", bucketColumn, func() (string, error) {
		cmd := exec.CommandContext(ctx, filepath.Join(b.cfg.cache, "s3.test"), "-test.run", "OfServer", "-test.v", "-test.timeout", "5m")
		cmd.Env = append(os.Environ(), "VARVE_TEST_S3_ENDPOINT="+server.MinioAddr, "VARVE_TEST_S3_BUCKET="+bucketName, "VARVE_TEST_S3_LOCK_BUCKET="+lockBucket,
			"VARVE_TEST_S3_ACCESS_KEY="+server.MinioKey, "VARVE_TEST_S3_SECRET_KEY="+server.MinioSecret)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("the contract's tests: %w\n%s", err, out)
		}
		passed := strings.Count(string(out), "    --- PASS: ")
		if passed == 0 {
			return "", fmt.Errorf("no test of the contract ran:\n%s", out)
		}
		return fmt.Sprintf("%d of its tests, on the server without the proxy", passed), nil
	})
}

// refusals: a bucket that can't be used is said so at the start.
func (b *bucketRun) refusals(ctx context.Context) {
	for _, t := range []struct{ name, bucket, secret, mention string }{
		{"bucket missing", "varve-no-such-bucket", server.MinioSecret, "varve-no-such-bucket"},
		{"bucket denied", bucketName, "wrong-secret", bucketName},
	} {
		_ = b.page.try(t.name, bucketColumn, func() (string, error) {
			s, err := b.cfg.start(ctx, "s3-"+strings.ReplaceAll(t.name, " ", "-"), b.options(t.bucket, t.secret))
			if err == nil {
				return "", errors.Join(errors.New("the server started"), s.Stop())
			}
			if !strings.Contains(err.Error(), t.mention) {
				return "", fmt.Errorf("the error doesn't name the bucket: %w", err)
			}
			lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
			return "refused: " + lines[len(lines)-1], nil
		})
	}
}

func (b *bucketRun) faults(ctx context.Context) {
	for _, t := range []struct {
		name  string
		fault faulty.Fault
		share float64
	}{
		{"healthy", faulty.Healthy, 0},
		{"slow", faulty.Slow, 1},
		{"half of the requests refused (503)", faulty.Refuse, 0.5},
		{"connections cut before the request", faulty.CutBefore, 0.3},
		{"connections cut after the request", faulty.CutAfter, 0.3},
		{"answers cut in the middle", faulty.CutHalf, 0.3},
		{"lies about data files", faulty.LieData, 0.4},
		{"lies about every kind of write", faulty.LieAll, 0.3},
		{"denied for a while", faulty.Deny, 1},
		{"writes done twice", faulty.Twice, 0.5},
		{"writes done a second late, unanswered", faulty.Late, 0.3},
	} {
		_ = b.page.try(t.name, bucketColumn, func() (string, error) { return b.fault(ctx, t.name, t.fault, t.share) })
	}
	_ = b.page.try("away for a while", bucketColumn, func() (string, error) { return b.outage(ctx) })
	_ = b.page.try("kill -9 while requests are cut", bucketColumn, func() (string, error) { return b.killed(ctx) })
}

// topic makes a topic's name of a check's.
func topic(name string) string {
	return "s3_" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
}

func (b *bucketRun) load(topic string, serial *atomic.Int64, n int64) wire.Load {
	return wire.Load{
		Addr: server.BrokerAddr, Topic: topic, Broker: "varve-a", Corpus: b.corpus, Connections: 4, Window: 32, Queues: bucketQueues,
		Messages: n, Serial: serial,
	}
}

// fault sends under a fault, lets it bite, ends it, archives, trims and reads everything back. What a lie about metadata
// has done shows in a new process only.
func (b *bucketRun) fault(ctx context.Context, name string, f faulty.Fault, share float64) (string, error) {
	b.proxy.Set(f, share)
	defer b.proxy.Set(faulty.Healthy, 0)
	var serial atomic.Int64
	sent, err := b.load(topic(name), &serial, bucketMessages).Run(ctx)
	if err != nil {
		return "", err
	}
	if sent.Refused > 0 {
		return "", fmt.Errorf("%d sends refused: %s", sent.Refused, sent.Refusal)
	}
	if f != faulty.Healthy {
		if err := b.bite(ctx); err != nil {
			return "", err
		}
	}
	faulted, passed := b.proxy.Counts()
	b.proxy.Set(faulty.Healthy, 0)
	if err := archiveAndTrim(ctx, b.varve); err != nil {
		return "", err
	}
	got, err := b.readBack(ctx, topic(name), bucketMessages, nil)
	if err == nil && f == faulty.LieAll {
		got, err = b.readAgain(ctx, topic(name))
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d of %d requests met it; %d messages read back, %d of them cold", faulted, faulted+passed, got.Messages, got.Cold), nil
}

// readAgain starts the server anew and reads a topic back once more: the archive must be whole for a process that knows
// nothing but the bucket.
func (b *bucketRun) readAgain(ctx context.Context, topic string) (*wire.Pulled, error) {
	if err := b.varve.Stop(); err != nil {
		return nil, err
	}
	var err error
	if b.varve, err = b.cfg.start(ctx, "s3", b.options(bucketName, server.MinioSecret)); err != nil {
		return nil, err
	}
	if err := archiveAndTrim(ctx, b.varve); err != nil {
		return nil, fmt.Errorf("after a restart: %w", err)
	}
	got, err := b.readBack(ctx, topic, bucketMessages, nil)
	if err != nil {
		return nil, fmt.Errorf("after a restart: %w", err)
	}
	if got.Cold != got.Messages {
		return nil, fmt.Errorf("after a restart only %d of %d messages came from the archive", got.Cold, got.Messages)
	}
	return got, nil
}

// bite waits until a number of requests have suffered, or the time is over.
func (b *bucketRun) bite(ctx context.Context) error {
	const enough = 12
	deadline := time.Now().Add(faultLimit)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		if n, _ := b.proxy.Counts(); n >= enough {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n, _ := b.proxy.Counts(); n == 0 {
		return errors.New("no request met the fault: the check is empty")
	}
	return ctx.Err()
}

// outage: the bucket is gone for a while, sends go on, and after it has come back nothing is missing.
func (b *bucketRun) outage(ctx context.Context) (string, error) {
	b.proxy.Set(faulty.CutBefore, 1)
	defer b.proxy.Set(faulty.Healthy, 0)
	var serial atomic.Int64
	l := b.load(topic("outage"), &serial, 0)
	l.Limit, l.PerSecond = outageTime, 4_000
	sent, err := l.Run(ctx)
	if err != nil {
		return "", err
	}
	if sent.Refused > 0 {
		return "", fmt.Errorf("%d sends refused: %s", sent.Refused, sent.Refusal)
	}
	b.proxy.Set(faulty.Healthy, 0)
	back := time.Now()
	// What needs the bucket is refused until the server has asked it again, once a second.
	for err := archiveAndTrim(ctx, b.varve); err != nil; err = archiveAndTrim(ctx, b.varve) {
		if time.Since(back) > noticedWithin {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	took := time.Since(back)
	if _, err := b.readBack(ctx, topic("outage"), sent.Messages, nil); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d messages sent in %v without a bucket, archived %.1f s after it was back", sent.Messages, outageTime, took.Seconds()), nil
}

// noticedWithin bounds the time in which a bucket that is back is used again.
const noticedWithin = 10 * time.Second

// killed: the process dies in the middle of uploads and commits, several times.
func (b *bucketRun) killed(ctx context.Context) (string, error) {
	b.proxy.Set(faulty.CutAfter, 0.2)
	defer b.proxy.Set(faulty.Healthy, 0)
	var serial atomic.Int64
	var mu sync.Mutex
	acked := map[int64]bool{}
	const rounds = 3
	for range rounds {
		l := b.load(topic("killed"), &serial, 0)
		l.Limit, l.PerSecond = 8*time.Second, 6_000
		l.Acked = func(n int64) {
			mu.Lock()
			acked[n] = true
			mu.Unlock()
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = l.Run(ctx) // it ends by the kill
		}()
		select {
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
			return "", ctx.Err()
		}
		if err := b.varve.Kill(); err != nil {
			return "", err
		}
		<-done
		// A start needs the bucket: it is proven safe to commit to before anything is taken.
		b.proxy.Set(faulty.Healthy, 0)
		var err error
		if b.varve, err = b.cfg.start(ctx, "s3", b.options(bucketName, server.MinioSecret)); err != nil {
			return "", err
		}
		b.proxy.Set(faulty.CutAfter, 0.2)
	}
	b.proxy.Set(faulty.Healthy, 0)
	if err := archiveAndTrim(ctx, b.varve); err != nil {
		return "", err
	}
	got, err := b.readBack(ctx, topic("killed"), -1, acked)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d kills; %d acked, %d stored (%d read cold), none lost, none doubled", rounds, len(acked), got.Messages, got.Cold), nil
}

// readBack reads a topic from its first offset and demands each message once,
// byte for byte: serials 0 to want-1, or if want is negative at least those acked.
func (b *bucketRun) readBack(ctx context.Context, topic string, want int64, acked map[int64]bool) (*wire.Pulled, error) {
	seen := map[int64]bool{}
	c := wire.Catchup{
		Addr: server.BrokerAddr, History: server.HistoryAddr, Topic: topic, Queues: bucketQueues, PullBatch: 32, Messages: 1 << 40,
		Each: func(q int, record []byte) error {
			n, err := corpus.Serial(record)
			switch {
			case err != nil:
				return fmt.Errorf("queue %d: %w", q, err)
			case seen[n]:
				return fmt.Errorf("queue %d: message %d is there twice", q, n)
			case !b.corpus.Holds(record, n):
				return fmt.Errorf("queue %d: message %d has another body", q, n)
			}
			seen[n] = true
			return nil
		},
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	got, err := c.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading back: %w", err)
	}
	if want >= 0 && got.Messages != want {
		return nil, fmt.Errorf("%d messages came back of %d", got.Messages, want)
	}
	for n := range acked {
		if !seen[n] {
			return nil, fmt.Errorf("message %d was acked and is gone", n)
		}
	}
	if got.Messages > 0 && got.Cold == 0 {
		return nil, errors.New("nothing was read from the archive")
	}
	return got, nil
}
