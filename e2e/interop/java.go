package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"varve/e2e/server"
)

// javaLimit bounds one run of the whole scenario list.
const javaLimit = 15 * time.Minute

// runJava runs the scenario list once for each client version and serializer over one broker.
func runJava(ctx context.Context, c config, p *page) error {
	s, err := c.start(ctx, "java", server.Options{RollAge: 2 * time.Second, Env: smallSegments})
	if err != nil {
		return err
	}
	p.ServerName = s.Name
	for _, version := range c.versions {
		for _, serializer := range []string{"JSON", "ROCKETMQ"} {
			j := javaClient{version: version, serializer: serializer, cfg: c, server: s}
			if err := j.run(ctx, p); err != nil {
				return errors.Join(fmt.Errorf("client %s, %s headers: %w", version, serializer, err), s.Stop())
			}
		}
	}
	if s.Archive != "" { // for the readers
		if err := s.ArchiveAll(ctx); err != nil {
			return errors.Join(err, s.Stop())
		}
	}
	return s.Stop()
}

// smallSegments lets a trim free what a scenario has just archived.
var smallSegments = []string{"VARVE_HOT_SEGMENT=8MiB"}

type javaClient struct {
	version, serializer string
	cfg                 config
	server              *server.Server

	mu sync.Mutex // of the child's standard input
	in io.Writer
}

func (j *javaClient) name() string {
	return "Java " + j.version + ", " + strings.ToLower(j.serializer) + " headers"
}

func (j *javaClient) command(ctx context.Context, scenarios []string, parallel int) *exec.Cmd {
	root := filepath.Join(j.cfg.cache, "java-"+j.version)
	args := []string{
		"-Xmx512m", "-Djava.net.preferIPv4Stack=true", "-Drocketmq.serialize.type=" + j.serializer,
		"-Drocketmq.client.logUseSlf4j=false", "-Drocketmq.client.logRoot=" + filepath.Join(j.cfg.work, "client-logs"),
		"-Duser.home=" + j.cfg.work,
		"--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
		"-cp", filepath.Join(root, "target", "classes") + ":" + filepath.Join(root, "lib", "*"),
		"varve.e2e.Main", server.RouteAddr, strconv.Itoa(parallel),
	}
	cmd := exec.CommandContext(ctx, "java", append(args, scenarios...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs the scenarios side by side, and those that failed once more, alone: the clients' clocks suffer where six of
// them share two cores. The page says of what passed only then.
func (j *javaClient) run(ctx context.Context, p *page) error {
	ctx, cancel := context.WithTimeout(ctx, javaLimit)
	defer cancel()
	var again []string
	first := map[string]string{}
	err := j.pass(ctx, "first", j.cfg.scenarios, j.cfg.parallel, func(c check) {
		if c.Verdict != "FAIL" {
			p.add(c)
			return
		}
		fmt.Printf("%s of %s failed and is run again: %s\n", c.Name, c.Column, c.Note)
		again, first[c.Name] = append(again, c.Name), c.Note
	})
	if err != nil || len(again) == 0 {
		return err
	}
	return j.pass(ctx, "again", again, 1, func(c check) {
		c.Note = fmt.Sprintf("run alone, after: %s. %s", first[c.Name], c.Note)
		p.add(c)
	})
}

func (j *javaClient) pass(ctx context.Context, name string, scenarios []string, parallel int, add func(check)) error {
	cmd := j.command(ctx, scenarios, parallel)
	log, err := os.Create(filepath.Join(j.cfg.work, fmt.Sprintf("java-%s-%s-%s.log", j.version, j.serializer, name)))
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
	fmt.Printf("== %s against %s\n", j.name(), j.server.Name)
	var calls sync.WaitGroup
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		f := strings.SplitN(sc.Text(), "\t", 5)
		switch {
		case f[0] == "RESULT" && len(f) == 5:
			add(result(j.name(), f))
		case f[0] == "CALL" && len(f) == 4:
			calls.Go(func() { j.answer(ctx, f[1], f[2]) })
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
func (j *javaClient) answer(ctx context.Context, id, verb string) {
	reply := "error\tno such call: " + verb
	if verb == "archive-and-trim" {
		switch {
		case j.server.Archive == "":
			reply = "skip"
		default:
			reply = "ok"
			if err := archiveAndTrim(ctx, j.server); err != nil {
				reply = "error\t" + strings.ReplaceAll(err.Error(), "\n", " ")
			}
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(j.in, "%s\t%s\n", id, reply)
}

func archiveAndTrim(ctx context.Context, s *server.Server) error {
	if err := s.ArchiveAll(ctx); err != nil {
		return err
	}
	return s.TrimAll(ctx)
}
