package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"varve/e2e/server"
)

// javaLimit bounds one run of the whole scenario list.
const javaLimit = 15 * time.Minute

// javaList is a list of scenarios that wants a server of its own.
type javaList struct {
	name    string // what the Java side calls it
	prefix  string // of its scenarios' names; the first list has all others
	options server.Options
	prepare func(context.Context, config, *server.Server) error
	alone   string // a list to run afterwards on the same server, client by client and scenario by scenario
}

var javaLists = []javaList{
	{name: "main", alone: "history", options: server.Options{GRPC: true, RollAge: 2 * time.Second, Env: smallSegments}},
	{name: "acl", prefix: "acl-", options: server.Options{GRPC: true, Access: true}, prepare: makeUsers},
	{name: "tls", prefix: "tls-enforced", options: server.Options{GRPC: true, TLSOnly: true}},
}

// smallSegments lets a trim free what a scenario has just archived.
var smallSegments = []string{"VARVE_HOT_SEGMENT=8MiB"}

// runJava runs the lists, each for every client version and serializer over one broker.
func runJava(ctx context.Context, c config, p *page) error {
	for _, l := range javaLists {
		if !l.wanted(c.scenarios) {
			continue
		}
		if err := l.run(ctx, c, p); err != nil {
			return err
		}
	}
	return nil
}

// wanted tells whether one of the named scenarios is of the list.
func (l *javaList) wanted(names []string) bool {
	if l.prefix != "" {
		return anyWith(names, l.prefix)
	}
	return len(names) == 0 || slices.ContainsFunc(names, func(name string) bool {
		return !slices.ContainsFunc(javaLists, func(o javaList) bool { return o.prefix != "" && strings.HasPrefix(name, o.prefix) })
	})
}

// anyWith tells whether one of the names begins so, or none is named at all.
func anyWith(names []string, prefix string) bool {
	return len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, prefix) })
}

func (l *javaList) run(ctx context.Context, c config, p *page) error {
	dir := "java"
	if l.prefix != "" {
		dir += "-" + l.name
	}
	o := l.options
	s, err := c.start(ctx, dir, o)
	if err != nil {
		return err
	}
	p.ServerName = s.Name
	if l.prepare != nil {
		if err := l.prepare(ctx, c, s); err != nil {
			return errors.Join(err, s.Stop())
		}
	}
	if err := l.runClients(ctx, c, s, p); err != nil {
		return errors.Join(err, s.Stop())
	}
	if s.Archive != "" && l.prefix == "" { // for the readers
		if err := s.ArchiveAll(ctx); err != nil {
			return errors.Join(err, s.Stop())
		}
	}
	return s.Stop()
}

// clientsAtOnce is how many Java processes run the same list side by side: they
// mostly wait, for leases, retries and clocks.
const clientsAtOnce = 3

// runClients runs the list with every client, and once more, alone, what failed:
// the clients' clocks suffer where many of them share two cores. The page says of
// what passed only then.
func (l *javaList) runClients(ctx context.Context, c config, s *server.Server, p *page) error {
	clients := javaClients(c)
	errs := make([]error, len(clients))
	slots := make(chan struct{}, clientsAtOnce)
	var all sync.WaitGroup
	for i, j := range clients {
		j.cfg, j.server = c, s
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = j.pass(ctx, p, l.name, c.scenarios, c.parallel)
		})
	}
	all.Wait()
	for i, j := range clients {
		if errs[i] == nil {
			errs[i] = j.again(ctx, p, l.name)
		}
		if errs[i] == nil && l.alone != "" && anyWith(c.scenarios, l.alone) {
			errs[i] = errors.Join(j.pass(ctx, p, l.alone, c.scenarios, 1), j.again(ctx, p, l.alone))
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("%s: %w", j.name, errs[i])
		}
	}
	return errors.Join(errs...)
}

// javaClient is one column of the page: a client's version and how it talks.
type javaClient struct {
	name    string
	root    string // folder of its classes and jars
	address string // where it finds the server
	options []string
	cfg     config
	server  *server.Server
	failed  map[string]string // scenarios that failed at first, and why

	mu sync.Mutex // of the child's standard input
	in io.Writer
}

func javaClients(c config) []*javaClient {
	var all []*javaClient
	for _, version := range c.versions {
		if grpc, ok := strings.CutPrefix(version, "grpc-"); ok {
			all = append(all, &javaClient{
				name: "Java gRPC " + grpc, root: "java-grpc-" + grpc, address: server.GRPCAddr,
				options: []string{"-Dvarve.namesrv=" + server.RouteAddr},
			})
			continue
		}
		for _, serializer := range []string{"JSON", "ROCKETMQ"} {
			all = append(all, &javaClient{
				name: "Java " + version + ", " + strings.ToLower(serializer) + " headers",
				root: "java-" + version, address: server.RouteAddr, options: []string{"-Drocketmq.serialize.type=" + serializer},
			})
		}
	}
	return all
}

func (j *javaClient) command(ctx context.Context, list string, scenarios []string, parallel int) *exec.Cmd {
	root := filepath.Join(j.cfg.cache, j.root)
	args := append([]string{
		"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true", "-Dvarve.list=" + list,
		"-Drocketmq.client.logUseSlf4j=false", "-Drocketmq.client.logRoot=" + filepath.Join(j.cfg.work, "client-logs"),
		"-Drocketmq.log.root=" + filepath.Join(j.cfg.work, "client-logs"), "-Duser.home=" + j.cfg.work,
		"--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
	}, j.options...)
	args = append(args, "-cp", filepath.Join(root, "target", "classes")+":"+filepath.Join(root, "lib", "*"),
		"varve.e2e.Main", j.address, strconv.Itoa(parallel))
	cmd := exec.CommandContext(ctx, "java", append(args, scenarios...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// pass runs a list and keeps what failed for another try.
func (j *javaClient) pass(ctx context.Context, p *page, list string, scenarios []string, parallel int) error {
	j.failed = map[string]string{}
	return j.process(ctx, list, scenarios, parallel, func(c check) {
		if c.Verdict == "FAIL" {
			fmt.Printf("%s of %s failed and is run again: %s\n", c.Name, c.Column, c.Note)
			j.failed[c.Name] = c.Note
			return
		}
		p.add(c)
	})
}

// again runs alone what failed.
func (j *javaClient) again(ctx context.Context, p *page, list string) error {
	if len(j.failed) == 0 {
		return nil
	}
	return j.process(ctx, list, slices.Sorted(maps.Keys(j.failed)), 1, func(c check) {
		c.Note = fmt.Sprintf("run alone, after: %s. %s", j.failed[c.Name], c.Note)
		p.add(c)
	})
}

// process runs the scenarios in one process of the client.
func (j *javaClient) process(ctx context.Context, list string, scenarios []string, parallel int, add func(check)) error {
	ctx, cancel := context.WithTimeout(ctx, javaLimit)
	defer cancel()
	cmd := j.command(ctx, list, scenarios, parallel)
	log, err := os.OpenFile(filepath.Join(j.cfg.work, j.name+" "+list+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("making the client's log: %w", err)
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("piping the client's output: %w", err)
	}
	if j.in, err = cmd.StdinPipe(); err != nil {
		return fmt.Errorf("piping the client's input: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the client: %w", err)
	}
	fmt.Printf("== %s against %s\n", j.name, j.server.Name)
	var calls sync.WaitGroup
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		f := strings.SplitN(sc.Text(), "\t", 5)
		switch {
		case f[0] == "RESULT" && len(f) == 5:
			add(result(j.name, f))
		case f[0] == "CALL" && len(f) == 4:
			calls.Go(func() { j.answer(ctx, f[1], f[2], f[3]) })
		}
	}
	calls.Wait()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the client ended badly, see %s: %w", log.Name(), err)
	}
	return nil
}

func result(client string, f []string) check {
	millis, err := strconv.ParseInt(f[3], 10, 64)
	if err != nil {
		millis = 0
	}
	return check{Name: f[1], Column: client, Verdict: f[2], Took: time.Duration(millis) * time.Millisecond, Note: f[4]}
}

// answer does what a scenario asks the harness for.
func (j *javaClient) answer(ctx context.Context, id, verb, topic string) {
	reply := "error\tno such call: " + verb
	switch {
	case j.server.Archive == "": // both calls are about it
		reply = "skip"
	case verb == "archive":
		reply = "ok"
	case verb == "archive-and-trim":
		reply = "ok"
		if err := forget(ctx, j.server, topic); err != nil {
			reply = "error\t" + strings.ReplaceAll(err.Error(), "\n", " ")
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(j.in, "%s\t%s\n", id, reply)
}

// forgetTries bounds how often forget trims.
const forgetTries = 20

// forget archives and trims until nothing of a topic is hot: what another
// scenario sends between the two keeps the segment that it stands in, and with
// it the topic's messages there.
func forget(ctx context.Context, s *server.Server, topic string) (err error) {
	for range forgetTries {
		if err = errors.Join(archiveAndTrim(ctx, s), isCold(ctx, topic)); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func archiveAndTrim(ctx context.Context, s *server.Server) error {
	if err := s.ArchiveAll(ctx); err != nil {
		return err
	}
	return s.TrimAll(ctx)
}
