package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"varve/e2e/corpus"
	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	migrateColumn   = "From a RocketMQ broker"
	migrateTopic    = "migrate_orders"
	migrateGroup    = "migrate_pay"
	migrateQueues   = 4
	migrateMessages = 20_000
	migrateLater    = 1_000   // that come during the import, and as many after the restore
	migrateConsumed = 1_000   // of each queue, by the group
	migrateSegment  = 1 << 20 // of the broker's log
	migrateLost     = 2       // segments that the broker has let go
	apacheName      = "broker-a"
	recordOffset    = 20 // of the queue offset in a stored record
)

// Codes of requests.
const (
	codePull         = 11
	codeQueryOffset  = 14
	codeUpdateOffset = 15
)

// oldApache is the release of the 4.9 line whose broker is imported from too.
const oldApache = "4.9.7"

// migration brings a real broker's history into an archive, and goes on there.
type migration struct {
	cfg     config
	dir     string
	lossy   bool // the broker has let its oldest messages go, and is killed and started again while it is imported from
	page    *page
	corpus  *corpus.Corpus
	serial  atomic.Int64
	bucket  string
	from    server.Apache
	options server.Options
	apache  *server.Server
	want    [migrateQueues][][]byte // stored records
}

// runMigrate checks the way from a RocketMQ cluster: import while it serves, killed and resumed, then a restored broker of its
// name.
func runMigrate(ctx context.Context, c config, p *page) error {
	return errors.Join(
		(&migration{cfg: c, page: p, dir: filepath.Join(c.work, "migrate")}).run(ctx, server.ApacheVersion),
		(&migration{cfg: c, page: p, dir: filepath.Join(c.work, "migrate-4"), lossy: true}).run(ctx, oldApache))
}

func (m *migration) run(ctx context.Context, version string) (err error) {
	m.corpus, m.bucket = corpus.New(1024, 5), filepath.Join(m.dir, "bucket")
	m.from = server.Apache{Lib: filepath.Join(m.cfg.cache, "apache-"+version, "lib")}
	m.options = server.Options{Dir: filepath.Join(m.dir, "apache"), SmallHeap: true, Conf: []string{
		"maxTransferCountOnMessageInMemory=256", "maxTransferCountOnMessageInDisk=256", "diskMaxUsedSpaceRatio=99",
		"waitTimeMillsInSendQueue=20000", "mappedFileSizeCommitLog=" + strconv.Itoa(migrateSegment), "mapedFileSizeCommitLog=" + strconv.Itoa(migrateSegment),
	}}
	if m.apache, err = m.from.Start(ctx, m.options); err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			err = errors.Join(err, m.apache.Stop())
		}
	}()
	what := ""
	if m.lossy {
		what = ", expired messages, the broker killed and started again"
	}
	if err := m.page.try("import from "+version+" while it serves, killed and resumed"+what, migrateColumn, func() (string, error) { return m.imports(ctx) }); err != nil {
		return nil
	}
	stopped = true
	if err := m.apache.Stop(); err != nil {
		return err
	}
	_ = m.page.try("a broker restored after "+version+" goes on; the Go client consumes from its group's progress", migrateColumn, func() (string, error) { return m.goesOn(ctx) })
	return nil
}

func (m *migration) send(ctx context.Context, n int64, perSecond int) error {
	l := wire.Load{
		Addr: server.BrokerAddr, Topic: migrateTopic, Broker: apacheName, Corpus: m.corpus, Connections: 2, Window: 16, Queues: migrateQueues,
		Messages: n, PerSecond: perSecond, Serial: &m.serial,
	}
	sent, err := l.Run(ctx)
	if err == nil && sent.Refused > 0 {
		err = fmt.Errorf("%d sends refused: %s", sent.Refused, sent.Refusal)
	}
	return err
}

// importer is `varve archive import`.
func (m *migration) importer(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, m.cfg.binary, append([]string{
		"archive", "import", "--name-server", server.RouteAddr, "--data-dir", filepath.Join(m.dir, "unused"), "--archive.dir", m.bucket,
		"--log.level", "warn", "-o", "json",
	}, args...)...)
}

type imported struct {
	Brokers []struct {
		Name       string
		Generation int64
		Messages   int64
		Topics     []struct {
			Name              string
			Messages, Missing int64
			Behind            int64
		}
	}
}

func (m *migration) complete(ctx context.Context) (*imported, error) {
	var said bytes.Buffer
	cmd := m.importer(ctx)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("varve archive import: %w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	var r imported
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, fmt.Errorf("the import's report %q: %w", out, err)
	}
	return &r, nil
}

func (m *migration) imports(ctx context.Context) (string, error) {
	if err := wire.PutTopic(server.BrokerAddr, migrateTopic, migrateQueues, ""); err != nil {
		return "", err
	}
	if err := wire.PutGroup(server.BrokerAddr, fmt.Sprintf(`{"groupName":%q,"consumeEnable":true,"consumeFromMinEnable":true,"retryQueueNums":1,"retryMaxTimes":16,"brokerId":0,"whichBrokerWhenConsumeSlowly":1}`, migrateGroup)); err != nil {
		return "", err
	}
	if err := m.send(ctx, migrateMessages, 0); err != nil {
		return "", err
	}
	for q := range migrateQueues {
		if err := m.commitOffset(q); err != nil {
			return "", err
		}
	}
	if m.lossy {
		if err := m.expire(ctx); err != nil {
			return "", err
		}
	}
	// Killed twice in the middle, at rates that make it take long.
	for i := range 2 {
		cmd := m.importer(ctx, "--rate", "4MiB")
		if err := cmd.Start(); err != nil {
			return "", err
		}
		select {
		case <-time.After(time.Duration(i+2) * time.Second):
		case <-ctx.Done():
		}
		if m.lossy { // the import waits for the broker
			if err := m.restart(ctx, func() error { return nil }); err != nil {
				return "", err
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			return "", err
		}
		_ = cmd.Wait()
	}
	sent := make(chan error, 1)
	go func() { sent <- m.send(ctx, migrateLater, 1000) }()
	if _, err := m.complete(ctx); err != nil {
		return "", errors.Join(err, <-sent)
	}
	if err := <-sent; err != nil {
		return "", err
	}
	r, err := m.complete(ctx)
	if err != nil {
		return "", err
	}
	if len(r.Brokers) != 1 || r.Brokers[0].Name != apacheName {
		return "", fmt.Errorf("the report: %+v", r)
	}
	for _, t := range r.Brokers[0].Topics {
		if t.Name == migrateTopic && t.Messages+t.Missing == migrateMessages+migrateLater && t.Behind == 0 && (t.Missing > 0) == m.lossy {
			total := 0
			for q := range migrateQueues {
				if m.want[q], err = pullAll(server.BrokerAddr, q); err != nil {
					return "", err
				}
				total += len(m.want[q])
			}
			if int64(total) != t.Messages {
				return "", fmt.Errorf("the broker gives %d messages itself, %d were imported", total, t.Messages)
			}
			return fmt.Sprintf("%d messages, %d gone before, generation %d", t.Messages, t.Missing, r.Brokers[0].Generation), nil
		}
	}
	return "", fmt.Errorf("the report: %+v", r)
}

// restart kills the broker and starts it again.
func (m *migration) restart(ctx context.Context, between func() error) error {
	if err := errors.Join(m.apache.Kill(), between()); err != nil {
		return err
	}
	var err error
	m.apache, err = m.from.Start(ctx, m.options)
	return err
}

// expire takes the oldest segments of the broker's log away, as it does itself when they are old.
func (m *migration) expire(ctx context.Context) error {
	if err := m.apache.Stop(); err != nil {
		return err
	}
	segments, err := filepath.Glob(filepath.Join(m.options.Dir, "store", "commitlog", "*"))
	if err == nil && len(segments) < 2*migrateLost {
		err = fmt.Errorf("the broker's log has %d segments", len(segments))
	}
	if err != nil {
		return err
	}
	slices.Sort(segments)
	for _, s := range segments[:migrateLost] {
		if err := os.Remove(s); err != nil {
			return fmt.Errorf("taking a segment away: %w", err)
		}
	}
	m.apache, err = m.from.Start(ctx, m.options)
	return err
}

func (m *migration) commitOffset(queue int) error {
	return request(server.BrokerAddr, func(c *wire.Conn) error {
		a, err := c.Call(codeUpdateOffset, nil, "consumerGroup", migrateGroup, "topic", migrateTopic, "queueId", strconv.Itoa(queue), "commitOffset", strconv.Itoa(migrateConsumed))
		if err == nil && a.Code != 0 {
			err = fmt.Errorf("committing an offset: %s", a.Header)
		}
		return err
	})
}

func request(addr string, f func(c *wire.Conn) error) error {
	c, err := wire.Dial(addr)
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.Close())
}

// pullAll reads a queue by plain pulls, record by record as it is stored.
func pullAll(addr string, queue int) (out [][]byte, err error) {
	err = request(addr, func(c *wire.Conn) error {
		first, end, err := c.Bounds(migrateTopic, queue)
		for at := first; err == nil && at < end; {
			var a wire.Answer
			a, err = c.Call(codePull, nil, "consumerGroup", "CID_COMPARE", "topic", migrateTopic, "queueId", strconv.Itoa(queue), "queueOffset", strconv.FormatInt(at, 10),
				"maxMsgNums", "256", "sysFlag", "4", "commitOffset", "0", "suspendTimeoutMillis", "0", "subscription", "*", "subVersion", "0", "expressionType", "TAG")
			if err == nil && a.Code != 0 {
				err = fmt.Errorf("pulling queue %d at %d: code %d, %s", queue, at, a.Code, a.Header)
			}
			for b := a.Body; err == nil && len(b) >= 4; {
				n := int(binary.BigEndian.Uint32(b))
				if n < recordOffset+8 || n > len(b) {
					return fmt.Errorf("pulling queue %d at %d: a record of %d bytes in %d", queue, at, n, len(b))
				}
				if off := int64(binary.BigEndian.Uint64(b[recordOffset:])); off != at {
					return fmt.Errorf("pulling queue %d at %d: offset %d", queue, at, off)
				}
				out = append(out, bytes.Clone(b[:n]))
				b, at = b[n:], at+1
			}
		}
		return err
	})
	return out, err
}

// goesOn restores a Varve broker over the archive and compares everything.
func (m *migration) goesOn(ctx context.Context) (note string, err error) {
	o := server.Options{Dir: filepath.Join(m.dir, "varve"), Env: []string{
		"VARVE_BROKER_NAME=" + apacheName, "VARVE_ARCHIVE_DIR=" + m.bucket, "VARVE_RESTORE=true", "VARVE_BROKER_ROUTE_COLD=false", "VARVE_BROKER_PULL_MESSAGES=256",
	}}
	began := time.Now()
	s, err := server.Varve{Binary: m.cfg.binary}.Start(ctx, o)
	if err != nil {
		return "", err
	}
	up := time.Since(began)
	defer func() { err = errors.Join(err, s.Stop()) }()
	before := m.serial.Load()
	if err := m.send(ctx, migrateLater, 0); err != nil {
		return "", err
	}
	more, same := 0, 0
	for q := range migrateQueues {
		got, err := pullAll(server.BrokerAddr, q)
		if err != nil {
			return "", err
		}
		for i, want := range m.want[q] {
			if i >= len(got) || !bytes.Equal(got[i], want) {
				return "", fmt.Errorf("queue %d, offset %d: another message than RocketMQ gave", q, i)
			}
		}
		more, same = more+len(got)-len(m.want[q]), same+len(m.want[q])
	}
	if more != int(m.serial.Load()-before) {
		return "", fmt.Errorf("%d new messages behind the old ones, %d were sent", more, m.serial.Load()-before)
	}
	// A real client goes on from the progress that the group had there.
	all := migrateMessages + 2*migrateLater - migrateQueues*migrateConsumed
	out, err := exec.CommandContext(ctx, filepath.Join(m.cfg.cache, "goclients"), "-client", "v2", "-take", fmt.Sprintf("%s,%s,%d", migrateTopic, migrateGroup, all),
		fmt.Sprintf(`{"plain":{"route":%q,"broker":%q}}`, server.RouteAddr, apacheName)).Output()
	if err != nil {
		return "", fmt.Errorf("the Go client: %w: %s", err, out)
	}
	lines := strings.Fields(string(out))
	first := lines[len(lines)-1]
	if first != strconv.Itoa(migrateConsumed) {
		return "", fmt.Errorf("the Go client began at offset %s, the group was at %d", first, migrateConsumed)
	}
	return fmt.Sprintf("%d messages byte for byte, up after %v, %d more consumed from offset %d on", same, up.Round(time.Millisecond), all, migrateConsumed), nil
}
