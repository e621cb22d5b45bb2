package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Addresses that both brokers use unless told others, RocketMQ's own.
const (
	RouteAddr   = "127.0.0.1:9876"
	BrokerAddr  = "127.0.0.1:10911"
	GRPCAddr    = "127.0.0.1:8081"
	HistoryAddr = "127.0.0.1:10915"
	HTTPAddr    = "127.0.0.1:8082"
)

// Addrs are where a broker listens. GRPC, History and HTTP are Varve's only.
type Addrs struct{ Route, Broker, GRPC, History, HTTP string }

// The super user of a broker that checks who asks.
const (
	RootUser   = "root"
	RootSecret = "root-secret-1"
)

const (
	startLimit = 60 * time.Second
	stopLimit  = 30 * time.Second
	portPoll   = 2 * time.Millisecond
)

// Options say how a broker is to run.
type Options struct {
	Dir       string // everything it writes; made if absent, kept if present
	SyncFlush bool   // fsync before every ack
	HotOnly   bool   // Varve: no connector and no history
	Addrs     Addrs  // where it listens; the zero value is RocketMQ's own ports
	S3        *S3    // Varve: archive there and not in Dir
	RollAge   time.Duration
	GRPC      bool     // Apache: with its proxy in the broker's process; Varve always listens for gRPC clients
	Access    bool     // signatures and rights are checked; RootUser may everything
	TLSOnly   bool     // connections without TLS are refused
	Env       []string // more environment for Varve
	Conf      []string // more lines of Apache's broker.conf
	SmallHeap bool     // Apache: one of several on this machine
}

// Addresses are where it listens.
func (o Options) Addresses() Addrs {
	if o.Addrs != (Addrs{}) {
		return o.Addrs
	}
	return Addrs{Route: RouteAddr, Broker: BrokerAddr, GRPC: GRPCAddr, History: HistoryAddr, HTTP: HTTPAddr}
}

// S3 is a bucket of an S3 server.
type S3 struct{ Endpoint, Bucket, AccessKey, SecretKey string }

// Server is a running broker.
type Server struct {
	Name    string
	Dir     string
	Addrs   Addrs
	Spawned time.Time // when the broker's process was started
	HotDirs []string  // what it writes for hot messages
	Archive string    // what it writes for archived ones, "" if nothing or elsewhere

	broker  *process
	said    <-chan struct{} // that it is ready
	helpers []*process
	cli     func(ctx context.Context, args ...string) ([]byte, error)
}

// PID is the process id of the broker itself.
func (s *Server) PID() int { return s.broker.cmd.Process.Pid }

// Exited is closed when the broker's process has ended.
func (s *Server) Exited() <-chan struct{} { return s.broker.done }

// CLI runs the server's own admin command; only Varve has one.
func (s *Server) CLI(ctx context.Context, args ...string) ([]byte, error) {
	if s.cli == nil {
		return nil, fmt.Errorf("%s has no admin command here", s.Name)
	}
	return s.cli(ctx, args...)
}

// Pause stops the broker's process where it is: it takes no CPU until Resume.
// Its helpers run on, so that a name server doesn't forget it.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume lets a paused broker go on.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	if err := s.broker.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("sending %v to %s: %w", sig, s.Name, err)
	}
	return nil
}

// Stop ends the broker in an orderly way and waits for it.
func (s *Server) Stop() error {
	errs := []error{s.broker.stop()}
	for _, h := range s.helpers {
		errs = append(errs, h.stop())
	}
	return errors.Join(errs...)
}

// Kill ends the broker at once (SIGKILL) and waits for it.
func (s *Server) Kill() error {
	if err := s.broker.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("killing %s: %w", s.Name, err)
	}
	<-s.broker.done
	for _, h := range s.helpers {
		if err := h.stop(); err != nil {
			return err
		}
	}
	return nil
}

type process struct {
	name string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}

	mu   sync.Mutex
	err  error
	tail []string
}

// spawn starts a process whose output goes to a log file; ready is sent each line.
func spawn(name, logFile string, ready func(line string), cmd *exec.Cmd) (*process, error) {
	if err := os.MkdirAll(filepath.Dir(logFile), 0o755); err != nil {
		return nil, fmt.Errorf("making the log folder of %s: %w", name, err)
	}
	f, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe for %s: %w", name, err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	w.Close()
	p := &process{name: name, cmd: cmd, log: f, done: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.copyLines(r, ready)
	}()
	go func() {
		err := cmd.Wait()
		<-read
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		f.Close()
		close(p.done)
	}()
	return p, nil
}

const tailLines = 20

func (p *process) copyLines(r io.ReadCloser, ready func(string)) {
	defer r.Close()
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		fmt.Fprintln(p.log, line)
		p.mu.Lock()
		p.tail = append(p.tail, line)
		if len(p.tail) > tailLines {
			p.tail = p.tail[1:]
		}
		p.mu.Unlock()
		if ready != nil {
			ready(line)
		}
	}
}

// failure tells how the process ended and what it said last.
func (p *process) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Errorf("%s ended (%v); its last lines:\n%s", p.name, p.err, strings.Join(p.tail, "\n"))
}

func (p *process) stop() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopLimit):
		if err := p.cmd.Process.Kill(); err != nil {
			return fmt.Errorf("killing %s: %w", p.name, err)
		}
		<-p.done
		return fmt.Errorf("%s did not stop within %v and was killed", p.name, stopLimit)
	}
}

// waitPort waits until something listens at addr.
func (p *process) waitPort(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(portPoll)
	defer tick.Stop()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return p.failure()
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s at %s: %w", p.name, addr, ctx.Err())
		case <-tick.C:
		}
	}
}

// waitLine waits until the process has said so itself.
func (p *process) waitLine(ctx context.Context, said <-chan struct{}) error {
	select {
	case <-said:
		return nil
	case <-p.done:
		return p.failure()
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s: %w", p.name, ctx.Err())
	case <-time.After(startLimit):
		return fmt.Errorf("%s not ready after %v", p.name, startLimit)
	}
}

// onLine closes the channel at the first line with one of the texts.
func onLine(texts ...string) (func(string), <-chan struct{}) {
	said := make(chan struct{})
	var once sync.Once
	return func(line string) {
		for _, t := range texts {
			if strings.Contains(line, t) {
				once.Do(func() { close(said) })
			}
		}
	}, said
}
