package remoting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"varve/internal/intake"
)

// Pauses of a server.
const (
	acceptPause = 50 * time.Millisecond // after a failed accept, such as "too many open files"
	drainTime   = 2 * time.Second       // for replies that wait when the server stops
	logPause    = 10 * time.Second      // between two reports of refused connections
)

// Serve accepts connections and serves their requests until ctx ends or the
// listener fails. It closes the listener, and returns when every connection
// has ended; ctx's end is no error.
func Serve(ctx context.Context, ln net.Listener, h Handler, cfg Config) error {
	cfg = cfg.withDefaults()
	if cfg.reading == nil {
		cfg.reading = intake.Process
	}
	if cfg.writing == nil {
		cfg.writing = writing
	}
	cfg.workers = new(workers)
	s := &server{handler: h, cfg: &cfg, conns: make(map[*Conn]struct{})}
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	err := s.accept(ctx, ln)
	_ = ln.Close()
	s.shutdown()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
}

type server struct {
	handler Handler
	cfg     *Config
	serving sync.WaitGroup

	mu      sync.Mutex
	conns   map[*Conn]struct{}
	refused int       // connections since the last report
	told    time.Time // when that was
}

func (s *server) accept(ctx context.Context, ln net.Listener) error {
	for {
		nc, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return err
			}
			s.cfg.Logger.Error("accept", slog.String("listener", ln.Addr().String()), slog.Any("err", err))
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
				return err
			}
			continue
		}
		s.admit(nc)
	}
}

func (s *server) admit(nc net.Conn) {
	// The connection outlives ctx by the time it takes to write what waits.
	c := newConn(context.Background(), nc, s.handler, s.cfg)
	s.mu.Lock()
	full := len(s.conns) >= s.cfg.MaxConns
	if !full {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if full {
		s.reportRefused(c)
		c.fail(fmt.Errorf("over the limit of %d connections", s.cfg.MaxConns))
		return
	}
	s.serving.Go(func() {
		if err := c.greet(); err != nil {
			c.cfg.Logger.Debug("connection ended", slog.String("peer", c.remote.String()), slog.Any("err", err))
			c.fail(err)
		} else {
			c.read()
		}
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		if s.cfg.OnClose != nil {
			s.cfg.OnClose(c)
		}
	})
}

// reportRefused logs that the server is full, now and then.
func (s *server) reportRefused(c *Conn) {
	s.mu.Lock()
	s.refused++
	n, now := s.refused, time.Now()
	due := now.Sub(s.told) >= logPause
	if due {
		s.refused, s.told = 0, now
	}
	s.mu.Unlock()
	if due {
		s.cfg.Logger.Warn("connections refused: too many", slog.String("last_peer", c.remote.String()),
			slog.Int("refused", n), slog.Int("max_conns", s.cfg.MaxConns))
	}
}

// shutdown lets every connection write what waits, for at most drainTime.
func (s *server) shutdown() {
	s.mu.Lock()
	var ending sync.WaitGroup
	for c := range s.conns {
		ending.Go(func() {
			late := time.AfterFunc(drainTime, func() { c.fail(ErrClosed) })
			defer late.Stop()
			c.out.waitBelow(1)
			c.fail(ErrClosed)
		})
	}
	s.mu.Unlock()
	ending.Wait()
	s.serving.Wait()
	s.cfg.workers.close()
}
