package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	apache = "apache"
	varve  = "varve"

	firstTopic     = "bench_first" // of the first send after a start
	firstSendLimit = time.Minute
	resumeLimit    = 20 * time.Second
	resumePoll     = 5 * time.Millisecond
)

// addrs are where each server listens: both are up at the same time.
var addrs = map[string]server.Addrs{
	apache: {Route: server.RouteAddr, Broker: server.BrokerAddr, GRPC: server.GRPCAddr},
	varve: {
		Route: "127.0.0.1:9976", Broker: "127.0.0.1:11011", GRPC: "127.0.0.1:8181",
		History: "127.0.0.1:11015", HTTP: "127.0.0.1:8182",
	},
}

// session is a list of cases that the servers go through in the same processes,
// over folders that are clean at its start.
type session struct {
	options   server.Options
	timeStart bool // the time to the first send is a figure
	cases     []benchCase
}

// benchCase is one step of a session. Its figures come from s.set.
type benchCase struct {
	name  string
	parts []string // the words by which -only asks for it; none: a preparation, run once if any case is
	only  string   // the one server that it is for; "" is both
	once  bool     // one round
	run   func(ctx context.Context, s *subject) error
}

// subject is one server under test, and what its cases leave for each other.
type subject struct {
	*server.Server
	*bench
	name   string // apache or varve
	round  int    // from 0
	last   bool   // no further round of this case follows
	serial atomic.Int64
	total  int64 // messages of benchTopic that were acked
	held   int64 // timed messages that wait
}

// set records a figure of the round.
func (s *subject) set(name, metric string, v float64) { s.results.set(name, s.name, metric, v) }

// brokerName is what the server calls itself in routes.
func (s *subject) brokerName() string {
	if s.name == apache {
		return "broker-a"
	}
	return "varve-a"
}

func (c benchCase) prepares() bool { return len(c.parts) == 0 }

func (c benchCase) runsOn(name string) bool { return c.only == "" || c.only == name }

// session starts the servers and takes them through the cases in turns.
func (b *bench) session(ctx context.Context, ses session) (err error) {
	wanted := func(c benchCase) bool { return slices.ContainsFunc(c.parts, b.wants) }
	var subjects []*subject
	defer func() {
		for _, s := range subjects {
			err = errors.Join(err, s.end())
		}
	}()
	for _, name := range b.servers {
		if !slices.ContainsFunc(ses.cases, func(c benchCase) bool { return wanted(c) && c.runsOn(name) }) {
			continue
		}
		s := &subject{bench: b, name: name}
		if err := s.begin(ctx, ses); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		subjects = append(subjects, s)
		if err := s.Pause(); err != nil {
			return err
		}
	}
	for _, c := range ses.cases {
		if !c.prepares() && !wanted(c) {
			continue
		}
		rounds := b.rounds
		if c.once || c.prepares() {
			rounds = 1
		}
		for round := range rounds {
			for _, s := range subjects {
				if !c.runsOn(s.name) {
					continue
				}
				s.round, s.last = round, round == rounds-1
				if err := s.turn(ctx, c); err != nil {
					return fmt.Errorf("%s: %s, round %d: %w", s.name, c.name, round+1, err)
				}
			}
		}
	}
	return nil
}

// begin starts the server over a clean folder and waits until it takes a send.
func (s *subject) begin(ctx context.Context, ses session) error {
	if err := os.RemoveAll(s.dir()); err != nil {
		return fmt.Errorf("emptying the scratch folder: %w", err)
	}
	syscall.Sync()
	first := make(chan time.Time, 1)
	starting, cancel := context.WithTimeout(ctx, firstSendLimit)
	defer cancel()
	go s.firstSend(starting, first)
	if err := s.start(ctx, ses.options); err != nil {
		return err
	}
	select {
	case t := <-first:
		if ses.timeStart {
			s.set("start", "ms", float64(t.Sub(s.Spawned))/1e6)
		}
		return nil
	case <-starting.Done():
		return errors.Join(fmt.Errorf("no send was taken within %s of the start", firstSendLimit), s.Stop())
	}
}

// firstSend tries to send until it is taken: another process is watched, which
// has no way to tell.
func (s *subject) firstSend(ctx context.Context, first chan<- time.Time) {
	for ctx.Err() == nil {
		if wire.SendOne(addrs[s.name].Broker, firstTopic, s.brokerName(), s.corpus) == nil {
			first <- time.Now()
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (s *subject) dir() string { return filepath.Join(s.work, s.name) }

// start starts the server over its folder as it is.
func (s *subject) start(ctx context.Context, o server.Options) error {
	o.Dir, o.Addrs = s.dir(), addrs[s.name]
	var err error
	switch s.name {
	case apache:
		s.Server, err = server.Apache{Lib: s.lib}.Start(ctx, o)
	case varve:
		s.Server, err = server.Varve{Binary: s.binary}.Start(ctx, o)
	default:
		err = fmt.Errorf("no server %q: there are %s and %s", s.name, apache, varve)
	}
	return err
}

// restart starts the server again over its folder, with other options.
func (s *subject) restart(ctx context.Context, o server.Options) error {
	return errors.Join(s.Stop(), s.start(ctx, o))
}

// end stops the server for good; a paused process wouldn't hear it.
func (s *subject) end() error { return errors.Join(s.Resume(), s.Stop()) }

// turn is one round of a case on one server, while the other is paused.
func (s *subject) turn(ctx context.Context, c benchCase) error {
	// What the last turn left in the page cache goes to the disk now: this
	// server isn't to pay for the other one's.
	start := time.Now()
	syscall.Sync()
	synced := time.Since(start)
	if !c.prepares() {
		s.results.calibrated(c.name, s.name, calibrate())
	}
	if err := s.Resume(); err != nil {
		return err
	}
	if err := s.awaitRoute(ctx); err != nil {
		return err
	}
	stolen, err := stolenTime()
	if err != nil {
		return err
	}
	begun := time.Now()
	fmt.Printf("-- %s, %s, round %d: disk's queue emptied in %v, answers after %v\n",
		c.name, s.name, s.round+1, synced.Round(time.Millisecond), (time.Since(start) - synced).Round(time.Millisecond))
	if err := c.run(ctx, s); err != nil {
		return err
	}
	if !c.prepares() {
		now, err := stolenTime()
		if err != nil {
			return err
		}
		s.results.stolen(c.name, s.name, (now-stolen).Seconds()/time.Since(begun).Seconds())
	}
	return s.Pause()
}

// awaitRoute waits until a server that was paused answers again, and its name
// server knows it.
func (s *subject) awaitRoute(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, resumeLimit)
	defer cancel()
	for {
		err := s.askRoute()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for its route after a pause: %w: %w", ctx.Err(), err)
		case <-time.After(resumePoll):
		}
	}
}

func (s *subject) askRoute() error {
	for addr, ask := range map[string]func(*wire.Conn) error{
		s.Addrs.Route:  func(c *wire.Conn) error { return c.Route(firstTopic) },
		s.Addrs.Broker: func(c *wire.Conn) error { _, _, err := c.Bounds(firstTopic, 0); return err },
	} {
		c, err := wire.Dial(addr)
		if err != nil {
			return err
		}
		if err := errors.Join(ask(c), c.Close()); err != nil {
			return err
		}
	}
	return nil
}
