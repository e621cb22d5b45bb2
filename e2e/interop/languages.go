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
	"sync"
	"syscall"
	"time"

	"varve/e2e/server"
)

// languageScenarios are run by each client's program, the slow ones first:
// they mostly wait. The names are those of e2e/java where the thing is the same.
var languageScenarios = []string{
	"transaction-check", "transaction-orphan", "orderly-rebalance", "push-rebalance", "simple-invisible", "orderly-suspend", "push-resume",
	"retry-dlq", "acl-wrong-secret", "retry-then-success", "timed", "delay-level", "timed-recall", "transaction",
	"push-orderly", "push-broadcast", "push-long-poll", "filter-tag", "filter-sql92", "simple-ack", "simple-filter", "pull", "trace",
	"request-reply", "send-sync", "send-async", "send-oneway", "send-batch", "send-to-queue", "auto-create",
	"body-largest", "body-too-large", "body-compressed", "properties-many", "acl-allowed", "acl-missing-right", "tls-enforced",
}

// coldScenarios come after the others: the log is trimmed by whole segments,
// and nobody else's fresh messages may hold one back.
var coldScenarios = []string{"history-push", "history-simple", "history-same-message"}

// languageLimit bounds the run of one client.
const languageLimit = 10 * time.Minute

// language is a client of another language than Java.
type language struct {
	key     string // names it on the command line
	column  string
	program func(c config) []string // what runs it; the plan is added
}

var languages = []language{
	{"go-v2", "Go client-go 2.1.2", func(c config) []string { return []string{filepath.Join(c.cache, "goclients"), "-client", "v2"} }},
	{"go-v5", "Go clients 5.1.3", func(c config) []string { return []string{filepath.Join(c.cache, "goclients"), "-client", "v5"} }},
	{"python", "Python 5.1.2", func(c config) []string {
		return []string{filepath.Join(c.cache, "python-client", "bin", "python"), filepath.Join(c.source, "python", "main.py")}
	}},
	{"node", "Node 1.0.8", func(c config) []string { return []string{"node", filepath.Join(c.source, "node", "main.js")} }},
}

// runLanguages runs every client's program at the same time, over three
// brokers: one that is open, one with access control, one that takes TLS alone.
// The real broker has no archive, and its TLS is tried by the Java clients.
// So is consuming under its access control: a group has to be made beforehand.
func runLanguages(ctx context.Context, c config, p *page) error {
	l := &languageRun{cfg: c, page: p, made: map[string]bool{}, cold: &coldGate{coming: map[string]bool{}}}
	err := l.start(ctx)
	if err == nil {
		err = l.runAll(ctx)
	}
	for _, s := range l.servers {
		err = errors.Join(err, s.Stop())
	}
	return err
}

type languageRun struct {
	cfg     config
	page    *page
	servers []*server.Server
	open    *server.Server
	plan    languagePlan
	cold    *coldGate
	// certificate is that of the broker that takes TLS alone: Python's and Node's clients check it, the Go client doesn't.
	certificate string

	mu   sync.Mutex
	made map[string]bool // groups, at the real broker
}

// languagePlan is what the programs are told.
type languagePlan struct {
	Scenarios []string      `json:"scenarios"`
	Parallel  int           `json:"parallel"`
	Plain     languagePlace `json:"plain"`
	Access    languagePlace `json:"access"`
	TLS       languagePlace `json:"tls"`
	Topic     string        `json:"topic"`
	Closed    string        `json:"closed"`
}

type languagePlace struct {
	Route  string `json:"route"`
	Broker string `json:"broker"`
	GRPC   string `json:"grpc"`
	HTTP   string `json:"http"` // of HTTP SDKs
	User   string `json:"user"`
	Secret string `json:"secret"`
}

// start starts the brokers.
func (l *languageRun) start(ctx context.Context) error {
	var err error
	l.plan.Topic, l.plan.Closed = "shared_with_app", "not_for_app"
	l.open, err = l.cfg.start(ctx, "languages", server.Options{
		RollAge: time.Second, GRPC: true, SmallHeap: true,
		Env:  append([]string{"VARVE_TRANSACTIONS_TIMEOUT=2s", "VARVE_TRANSACTIONS_CHECK_INTERVAL=4s"}, smallSegments...),
		Conf: []string{"transactionTimeOut=2000", "transactionCheckInterval=4000", "enableMixedMessageType=true"},
	})
	if err != nil {
		return err
	}
	l.servers = append(l.servers, l.open)
	l.page.ServerName = l.open.Name
	l.plan.Plain = languagePlace{Route: server.RouteAddr, Broker: l.cfg.brokerName(), GRPC: server.GRPCAddr}
	if l.cfg.server == "apache" {
		l.plan.Access, err = l.startApacheAccess(ctx)
		return err
	}
	if l.plan.Access, err = l.startAccess(ctx, "languages-access"); err != nil {
		return err
	}
	l.plan.TLS, err = l.startTLS(ctx)
	return err
}

// elsewhere is a broker on ports of its own, by the ports' first digits.
func (l *languageRun) elsewhere(ctx context.Context, name, ports string, env ...string) (languagePlace, error) {
	at := "127.0.0.1:" + ports
	s, err := l.cfg.start(ctx, name, server.Options{
		HotOnly: true, GRPC: true, SmallHeap: true, Access: l.cfg.server == "apache", Addrs: server.Addrs{Route: at + "76", Broker: at + "11", GRPC: at + "81", History: at + "15", HTTP: at + "82"},
		Env: append(env, "VARVE_BROKER_VIP=false", "VARVE_MQHTTP_LISTEN="+at+"83"),
	})
	if err != nil {
		return languagePlace{}, err
	}
	l.servers = append(l.servers, s)
	return languagePlace{Route: at + "76", GRPC: at + "81", HTTP: at + "83"}, nil
}

// startAccess starts the broker with access control, and makes the user app there.
func (l *languageRun) startAccess(ctx context.Context, name string) (languagePlace, error) {
	const super, secret = "root", "of-all-evil"
	place, err := l.elsewhere(ctx, name, "210", "VARVE_AUTH_ENABLED=true",
		"VARVE_AUTH_SUPER_USER="+super, "VARVE_AUTH_SUPER_SECRET_KEY="+secret)
	if err != nil {
		return place, err
	}
	file := filepath.Join(l.cfg.work, name, "super")
	if err := os.WriteFile(file, []byte(super+":"+secret), 0o600); err != nil {
		return place, fmt.Errorf("writing the super user's password: %w", err)
	}
	place.User, place.Secret = "app", "app-has-a-secret"
	for _, args := range [][]string{
		{"user", "create", place.User, "--password-stdin"},
		{"topic", "create", l.plan.Topic},
		{"topic", "create", l.plan.Closed},
		{"acl", "allow", place.User, "Topic:" + l.plan.Topic, "--actions", "Pub,Sub"},
		{"acl", "allow", place.User, "Group:*", "--actions", "Sub"},
	} {
		cmd := exec.CommandContext(ctx, l.cfg.binary, append(args, "--server", "127.0.0.1:21082", "--credentials", file)...)
		cmd.Stdin = strings.NewReader(place.Secret)
		if out, err := cmd.CombinedOutput(); err != nil {
			return place, fmt.Errorf("varve %v: %w: %s", args, err, out)
		}
	}
	return place, nil
}

// startApacheAccess does the same with the real broker and its own tool.
func (l *languageRun) startApacheAccess(ctx context.Context) (languagePlace, error) {
	place, err := l.elsewhere(ctx, "languages-access", "210")
	if err != nil {
		return place, err
	}
	place.User, place.Secret = "app", "app-has-a-secret"
	s := l.servers[len(l.servers)-1]
	topic := func(name string) []string {
		return []string{"updateTopic", "-b", s.Addrs.Broker, "-t", name, "-r", "4", "-w", "4", "-a", "+message.type=NORMAL"}
	}
	allow := func(resource, actions string) []string {
		return []string{"createAcl", "-b", s.Addrs.Broker, "-s", "User:" + place.User, "-r", resource, "-a", actions, "-d", "Allow"}
	}
	return place, asRoot(ctx, l.cfg, s,
		[]string{"createUser", "-b", s.Addrs.Broker, "-u", place.User, "-p", place.Secret, "-t", "Normal"},
		topic(l.plan.Topic), topic(l.plan.Closed), allow("Topic:"+l.plan.Topic, "Pub,Sub"), allow("Group:*", "Sub"))
}

func (l *languageRun) startTLS(ctx context.Context) (languagePlace, error) {
	place, err := l.elsewhere(ctx, "languages-tls", "220", "VARVE_TLS_MODE=enforcing")
	if err != nil {
		return place, err
	}
	l.certificate = filepath.Join(l.cfg.work, "languages-tls", "data", "tls", "cert.pem")
	out, err := exec.CommandContext(ctx, l.cfg.binary, "topic", "create", l.plan.Topic, "--server", "https://127.0.0.1:22082", "--tls-unverified").CombinedOutput()
	if err != nil {
		return place, fmt.Errorf("making the topic of the broker with TLS: %w: %s", err, out)
	}
	return place, nil
}

// runAll runs the programs side by side, what failed once more and alone, and
// then the cold scenarios.
func (l *languageRun) runAll(ctx context.Context) error {
	chosen := slices.DeleteFunc(slices.Clone(languages), func(x language) bool {
		return len(l.cfg.languages) > 0 && !slices.Contains(l.cfg.languages, x.key)
	})
	warm, cold := l.wanted(languageScenarios), l.wanted(coldScenarios)
	if l.cfg.server == "apache" {
		warm, cold = slices.DeleteFunc(warm, func(n string) bool { return n == "tls-enforced" || n == "acl-allowed" }), nil
	}
	for _, names := range [][]string{warm, cold} {
		if len(names) == 0 {
			continue
		}
		var mu sync.Mutex
		failed := map[string][]check{}
		err := l.each(chosen, func(x language) error {
			return l.run(ctx, x, names, l.cfg.parallel, func(c check) {
				if c.Verdict != "FAIL" {
					l.page.add(c)
					return
				}
				fmt.Printf("%s of %s failed and is run again: %s\n", c.Name, c.Column, c.Note)
				mu.Lock()
				defer mu.Unlock()
				failed[x.key] = append(failed[x.key], c)
			})
		})
		for _, x := range chosen {
			if again := failed[x.key]; len(again) > 0 {
				err = errors.Join(err, l.again(ctx, x, again))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *languageRun) wanted(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return len(l.cfg.scenarios) > 0 && !slices.Contains(l.cfg.scenarios, n)
	})
}

func (l *languageRun) each(chosen []language, f func(language) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(chosen))
	for i, x := range chosen {
		all.Go(func() {
			if err := f(x); err != nil {
				errs[i] = fmt.Errorf("%s: %w", x.key, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// again runs what failed once more, alone; the page says of what passed only then.
func (l *languageRun) again(ctx context.Context, x language, failed []check) error {
	first := map[string]string{}
	var names []string
	for _, c := range failed {
		first[c.Name] = c.Note
		names = append(names, c.Name)
	}
	return l.run(ctx, x, names, 1, func(c check) {
		c.Note = strings.TrimSpace(fmt.Sprintf("run alone, after: %s. %s", first[c.Name], c.Note))
		l.page.add(c)
	})
}

// run has one program run scenarios. It must speak of each.
func (l *languageRun) run(ctx context.Context, x language, names []string, parallel int, add func(check)) error {
	ctx, cancel := context.WithTimeout(ctx, languageLimit)
	defer cancel()
	plan := l.plan
	plan.Scenarios, plan.Parallel = names, parallel
	text, err := json.Marshal(plan)
	if err != nil {
		return fmt.Errorf("the plan: %w", err)
	}
	args := append(x.program(l.cfg), string(text))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	home := filepath.Join(l.cfg.work, "client-logs", x.key)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return fmt.Errorf("making the client's folder: %w", err)
	}
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home, "user.home="+home, "rocketmq.client.logRoot="+home,
		"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH="+l.certificate, "NODE_EXTRA_CA_CERTS="+l.certificate, "PYTHONDONTWRITEBYTECODE=1",
		"NODE_PATH="+filepath.Join(l.cfg.cache, "node-client", "node_modules"),
		"rocketmq.client.logLevel=warn", "rocketmq.client.localOffsetStoreDir="+home)
	if l.cfg.recorder != nil {
		cmd.Env = append(cmd.Env, "rocketmq.client.enableSsl=false") // of the Go client, which prefers it
	}
	open := map[string]bool{}
	for _, n := range names {
		open[n] = true
		if slices.Contains(coldScenarios, n) {
			l.cold.expect(x.key + " " + n)
		}
	}
	verb := func(ctx context.Context, verb, arg string) error { return l.verb(ctx, x.key, verb, arg) }
	err = converse(ctx, cmd, filepath.Join(home, "stderr.log"), verb, func(f []string) {
		delete(open, f[1])
		l.cold.leave(x.key + " " + f[1])
		add(result(x.column, f))
	})
	for _, n := range names {
		l.cold.leave(x.key + " " + n)
		if open[n] {
			add(check{Name: n, Column: x.column, Verdict: "FAIL", Note: "the client's program did not speak of it"})
		}
	}
	return err
}
