// Command goclients runs the scenarios of e2e/interop with a Go client of
// RocketMQ: -client v2 is rocketmq-client-go (remoting), -client v5 is
// rocketmq-clients/golang/v5 (gRPC).
//
// Its one argument is the plan, in JSON. It prints a line a scenario,
// RESULT<tab>name<tab>ok|FAIL|skip<tab>millis<tab>detail, and asks for what
// only the harness can do with CALL<tab>number<tab>verb<tab>argument, which is
// answered on standard input with number<tab>ok|skip|error<tab>text.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// scenarioLimit bounds one scenario.
const scenarioLimit = 150 * time.Second

// maxDetail bounds what is said of a failure: it may quote bodies.
const maxDetail = 600

// plan is what the harness asks for.
type plan struct {
	Scenarios []string `json:"scenarios"`
	Parallel  int      `json:"parallel"`
	Plain     place    `json:"plain"`  // no access control, TLS and plaintext
	Access    place    `json:"access"` // access control
	TLS       place    `json:"tls"`    // takes TLS alone
	Topic     string   `json:"topic"`  // where access control is: the user may use it
	Closed    string   `json:"closed"` // the user may not
}

// place is a broker.
type place struct {
	Route  string `json:"route"`
	Broker string `json:"broker"` // the broker group's name
	GRPC   string `json:"grpc"`
	User   string `json:"user"`
	Secret string `json:"secret"`
}

// lacks is the error of a client that has no such thing.
type lacks string

func (l lacks) Error() string { return "the client has no " + string(l) }

func main() {
	client := flag.String("client", "v2", "v2 or v5")
	leave := flag.String("leave", "", "send transactions to this topic and die with them in doubt")
	take := flag.String("take", "", "consume topic,group,messages and print the lowest offset")
	flag.Parse()
	if err := run(*client, *leave, *take, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "goclients:", err)
		os.Exit(1)
	}
}

func run(client, leave, take, text string) error {
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return fmt.Errorf("the plan: %w", err)
	}
	var lib library
	switch client {
	case "v2":
		lib = newV2()
	case "v5":
		lib = newV5()
	default:
		return fmt.Errorf("no client %q: there are v2 and v5", client)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if leave != "" {
		return leaveInDoubt(ctx, lib, p.Plain, leave)
	}
	if take != "" {
		return takeAll(ctx, lib, p.Plain, take)
	}
	h := newHarness(os.Stdin, os.Stdout)
	names := make(chan string)
	var workers sync.WaitGroup
	for range p.Parallel {
		workers.Go(func() {
			for name := range names {
				one(ctx, h, lib, &p, client, name)
			}
		})
	}
	for _, name := range p.Scenarios {
		names <- name
	}
	close(names)
	workers.Wait()
	return nil
}

// one runs a scenario and says how it ended. Clients are closed behind its
// back: some wait for a long poll to end.
func one(ctx context.Context, h *harness, lib library, p *plan, client, name string) {
	start := time.Now()
	f, has := scenarios[name]
	if !has {
		h.result(name, "FAIL", 0, "goclients has no such scenario")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, scenarioLimit)
	defer cancel()
	e := newEnv(ctx, h, lib, p, client, name)
	done := make(chan error, 1)
	go func() { done <- f(e) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = fmt.Errorf("not done after %v", scenarioLimit)
	}
	go e.close()
	took := time.Since(start)
	var no lacks
	switch {
	case err == nil:
		h.result(name, "ok", took, e.note)
	case errors.As(err, &no):
		h.result(name, "skip", took, no.Error())
	default:
		text := strings.ReplaceAll(err.Error(), "\n", " ")
		h.result(name, "FAIL", took, text[:min(len(text), maxDetail)])
	}
}
