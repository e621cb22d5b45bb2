package query

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"varve/query/wire"
)

// Limits of what a worker may say, and how it is watched.
const (
	maxStderr     = 8 << 10
	watchInterval = 50 * time.Millisecond
	// A worker's memory above DuckDB's own limit: its own part and a reserve,
	// since DuckDB's limit is not a hard one.
	reserveBytes = 384 << 20
)

// process is a running worker.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	max    int64 // of one line
	stderr limitedText
	fat    atomic.Bool // killed for its memory
	ended  chan struct{}
	once   sync.Once
	err    error // of the process, after ended
}

func (q *run) startWorker() error {
	c := q.e.cfg
	hard := q.req.MemoryBytes + q.req.MemoryBytes/2 + reserveBytes
	cmd := exec.Command(c.Command[0], c.Command[1:]...) //nolint:noctx // killed by group, see kill
	cmd.Dir = q.dir
	cmd.Env = append([]string{"TZ=UTC", "HOME=" + q.dir, "TMPDIR=" + q.dir, "LANG=C.UTF-8"}, c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &process{cmd: cmd, max: 2*c.MaxResultBytes + 1<<20, ended: make(chan struct{})}
	cmd.Stderr = &p.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("starting the query's worker: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("starting the query's worker: %w", err)
	}
	if err := startConfined(cmd, filepath.Join(q.dir, spillDir)); err != nil {
		return fmt.Errorf("starting the query's worker: %w", err)
	}
	p.in, p.out = in, bufio.NewReaderSize(out, 1<<16)
	q.proc = p
	stop := context.AfterFunc(q.ctx, p.kill)
	watched := make(chan struct{})
	go func() { defer close(watched); p.watch(hard + residentBase) }()
	q.undo = append(q.undo, func() {
		stop()
		p.kill()
		p.wait()
		<-watched
	})
	seconds := int64(q.req.Timeout/time.Second) + 2
	return p.send(wire.Hello{SQL: q.req.SQL, Tenant: q.req.Tenant, Dir: filepath.Join(q.dir, spillDir), Limits: wire.Limits{
		MemoryBytes: q.req.MemoryBytes, HardBytes: hard, SpillBytes: c.SpillBytes,
		CPUSeconds: seconds * int64(c.Threads+2), Threads: c.Threads, MaxRows: q.req.MaxRows, MaxBytes: c.MaxResultBytes,
	}})
}

// kill ends the worker and whatever it may have started.
func (p *process) kill() {
	select {
	case <-p.ended:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// wait collects the worker's end.
func (p *process) wait() error {
	p.once.Do(func() {
		p.in.Close()
		p.err = p.cmd.Wait()
		close(p.ended)
	})
	<-p.ended
	return p.err
}

// watch kills a worker that holds more memory than the limit: the kernel's own
// limit counts differently, and not every system has it.
func (p *process) watch(limit int64) {
	t := time.NewTicker(watchInterval)
	defer t.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-t.C:
			if residentBytes(p.cmd.Process.Pid) > limit {
				p.fat.Store(true)
				p.kill()
				return
			}
		}
	}
}

func (p *process) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing to the query's worker: %w", err)
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return p.died()
	}
	return nil
}

// line reads one line; it is valid until the next call.
func (p *process) line() ([]byte, error) {
	line, err := p.out.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := append([]byte(nil), line...)
		for errors.Is(err, bufio.ErrBufferFull) && int64(len(long)) < p.max {
			line, err = p.out.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	if err != nil || len(line) < 2 {
		return nil, p.died()
	}
	return line[:len(line)-1], nil
}

func (p *process) reply() (wire.Reply, error) {
	line, err := p.line()
	if err != nil {
		return wire.Reply{}, err
	}
	return decodeReply(line)
}

// died explains a worker that ended without an answer.
func (p *process) died() error {
	p.kill()
	err := p.wait()
	why := p.stderr.String()
	if p.fat.Load() || strings.Contains(why, "out of memory") || strings.Contains(why, "bad_alloc") || strings.Contains(why, "cannot allocate memory") {
		return &Error{Kind: wire.Memory, Message: "the query needs more memory than its limit; select fewer columns or rows, or aggregate less finely"}
	}
	msg := "the query's worker stopped"
	if err != nil {
		msg += " (" + err.Error() + ")"
	}
	return &Error{Kind: wire.Crashed, Message: msg + "; the server and other queries are not affected"}
}

// limitedText keeps the first bytes written to it.
type limitedText struct {
	mu sync.Mutex
	b  []byte
}

func (l *limitedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p[:min(len(p), maxStderr-len(l.b))]...)
	return len(p), nil
}

func (l *limitedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}
