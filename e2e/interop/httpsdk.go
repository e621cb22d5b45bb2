package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"varve/e2e/server"
	"varve/e2e/wire"
)

// httpScenarios are run by each HTTP SDK, one after the other: the last one
// trims the log.
var httpScenarios = []string{
	"publish", "text", "body-largest", "empty", "instance", "tags", "long-poll", "delay", "ack", "redelivery", "ordered",
	"transaction", "transaction-check", "signed", "wrong-secret", "denied", "history",
}

const (
	httpLimit = 5 * time.Minute // of the run of one SDK
	httpAddr  = "127.0.0.1:8083"
	// httpInvisible is the time to ack there: short, as a scenario waits for it.
	httpInvisible = 3 * time.Second
)

// httpSDK is the SDK of one language.
type httpSDK struct {
	column  string
	folder  string // of client-logs
	program func(c config) *exec.Cmd
}

var httpSDKs = []httpSDK{
	{"Python mq_http_sdk 1.0.3", "httpsdk-python", func(c config) *exec.Cmd {
		return exec.Command(filepath.Join(c.cache, "httpsdk-venv", "bin", "python"), filepath.Join(c.source, "httpsdk", "python", "scenarios.py"))
	}},
	{"Node.js mq-http-sdk 1.0.4", "httpsdk-node", func(c config) *exec.Cmd {
		cmd := exec.Command("node", filepath.Join(c.source, "httpsdk", "node", "scenarios.js"))
		cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(c.cache, "httpsdk-node", "node_modules"))
		return cmd
	}},
}

func isHTTPSDK(column string) bool {
	return slices.ContainsFunc(httpSDKs, func(x httpSDK) bool { return x.column == column })
}

// httpPlan is what the programs are told.
type httpPlan struct {
	Scenarios []string  `json:"scenarios"`
	Plain     httpPlace `json:"plain"`
	Access    httpPlace `json:"access"`
	Topic     string    `json:"topic"`     // at Access, the user's
	Closed    string    `json:"closed"`    // there, another's
	Invisible int       `json:"invisible"` // seconds
}

type httpPlace struct {
	Endpoint string `json:"endpoint"`
	User     string `json:"user,omitempty"`
	Secret   string `json:"secret,omitempty"`
}

// runHTTP has the HTTP SDKs run their scenarios over two brokers: one that is
// open, one with access control.
func runHTTP(ctx context.Context, c config, p *page) error {
	r := &httpRun{cfg: c, page: p}
	err := r.start(ctx)
	for i := 0; err == nil && i < len(httpSDKs); i++ {
		err = r.run(ctx, &httpSDKs[i])
	}
	for _, s := range r.servers {
		err = errors.Join(err, s.Stop())
	}
	return err
}

type httpRun struct {
	cfg     config
	page    *page
	servers []*server.Server
	open    *server.Server
	plan    httpPlan
}

func (r *httpRun) start(ctx context.Context) error {
	var err error
	r.open, err = r.cfg.start(ctx, "http", server.Options{RollAge: time.Second, Env: append([]string{
		"VARVE_MQHTTP_LISTEN=" + httpAddr, "VARVE_MQHTTP_INVISIBLE=" + httpInvisible.String(), "VARVE_MQHTTP_INVISIBLE_ORDERED=" + httpInvisible.String(),
		"VARVE_TRANSACTIONS_TIMEOUT=1s", "VARVE_TRANSACTIONS_CHECK_INTERVAL=3s", "VARVE_BROKER_AUTO_CREATE_TOPICS=false",
	}, smallSegments...)})
	if err != nil {
		return err
	}
	r.servers = append(r.servers, r.open)
	r.page.ServerName = r.open.Name
	access := &languageRun{cfg: r.cfg, page: r.page, plan: languagePlan{Topic: "shared_with_app", Closed: "not_for_app"}}
	place, err := access.startAccess(ctx, "http-access")
	r.servers = append(r.servers, access.servers...)
	r.plan = httpPlan{
		Scenarios: httpScenarios, Plain: httpPlace{Endpoint: "http://" + httpAddr},
		Access: httpPlace{Endpoint: "http://" + place.HTTP, User: place.User, Secret: place.Secret},
		Topic:  access.plan.Topic, Closed: access.plan.Closed, Invisible: int(httpInvisible / time.Second),
	}
	if len(r.cfg.scenarios) > 0 {
		r.plan.Scenarios = slices.DeleteFunc(slices.Clone(httpScenarios), func(n string) bool { return !slices.Contains(r.cfg.scenarios, n) })
	}
	return err
}

// run has one SDK's program run the scenarios. It must speak of each.
func (r *httpRun) run(ctx context.Context, x *httpSDK) error {
	ctx, cancel := context.WithTimeout(ctx, httpLimit)
	defer cancel()
	text, err := json.Marshal(r.plan)
	if err != nil {
		return fmt.Errorf("the plan: %w", err)
	}
	program := x.program(r.cfg)
	cmd := exec.CommandContext(ctx, program.Path, append(program.Args[1:], string(text))...)
	cmd.Env = program.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Dir = filepath.Join(r.cfg.work, "client-logs", x.folder)
	if err := os.MkdirAll(cmd.Dir, 0o755); err != nil {
		return fmt.Errorf("making the client's folder: %w", err)
	}
	fmt.Printf("== %s against %s\n", x.column, r.open.Name)
	spoken := map[string]bool{}
	err = converse(ctx, cmd, filepath.Join(cmd.Dir, "stderr.log"), r.verb, func(f []string) {
		spoken[f[1]] = true
		r.page.add(result(x.column, f))
	})
	for _, n := range r.plan.Scenarios {
		if !spoken[n] {
			r.page.add(check{Name: n, Column: x.column, Verdict: "FAIL", Note: "the client's program did not speak of it"})
		}
	}
	return err
}

// verb does what a scenario asks for.
func (r *httpRun) verb(ctx context.Context, verb, arg string) error {
	words := strings.Fields(arg)
	switch {
	case verb == "topic" && len(words) == 2: // NAME QUEUES
		var queues int
		if _, err := fmt.Sscan(words[1], &queues); err != nil {
			return fmt.Errorf("queues %q: %w", words[1], err)
		}
		return wire.PutTopic(server.BrokerAddr, words[0], queues, "")
	case verb == "history" && len(words) == 2: // TOPIC GROUP
		if err := errors.Join(r.untilCold(ctx, words[0]), putGroup(words[1], "16", false, false)); err != nil {
			return err
		}
		_, err := r.open.CLI(ctx, "group", "reset", words[1], "--topic", words[0], "--to", "earliest")
		return err
	}
	return fmt.Errorf("no such call: %s %s", verb, arg)
}

// untilCold trims until the hot log has nothing of a topic. What timers and
// transactions were told a moment ago holds the log until they have saved it.
func (r *httpRun) untilCold(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := errors.Join(archiveAndTrim(ctx, r.open), isCold(ctx, topic))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// httpMatrix writes the checks of the HTTP SDKs.
func (p *page) httpMatrix(b *strings.Builder) {
	var columns []string
	for _, x := range httpSDKs {
		columns = append(columns, x.column)
	}
	p.table(b, "HTTP SDKs", "The SDKs of the aliyunmq HTTP protocol: [http.md](http.md). The Go SDK runs in `make test`.", columns, httpScenarios, nil)
}
