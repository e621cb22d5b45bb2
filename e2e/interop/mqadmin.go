package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"varve/e2e/server"
)

const (
	mqadminColumn = "mqadmin"
	toolVersion   = "5.5.0"
	// toolLimit bounds one command. Those that never end by themselves have a
	// limit of their own.
	toolLimit = time.Minute
	// memberMessages is what the connected client sends and consumes.
	memberMessages = 20
)

// adminCheck is one command line of the tool.
type adminCheck struct {
	line string // words parted by spaces, with {names} filled in; 'quoted words' are one
	// want are expressions that the output has to match.
	want []string
	// refused is what the error has to say of a command without meaning here.
	refused string
	// before is done first.
	before func(ctx context.Context, r *adminRun) error
	// noisy is a command that prints a failure and goes on.
	noisy bool
	// endless has the command stopped after this time.
	endless time.Duration
}

// adminRun is the tool at work on one broker.
type adminRun struct {
	cfg    config
	page   *page
	server *server.Server
	names  map[string]string // what {names} stand for
	member *exec.Cmd
	tool   *adminTool // nil until one is needed
	home   string     // where conf/tools.yml has the tool's user; none if empty
	rows   []adminRow
}

// adminTool is a process that runs one command of the tool after the other.
type adminTool struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// adminRow is one line of the page.
type adminRow struct {
	check
	refused bool
}

// runMqadmin runs every command of RocketMQ's administration tool.
func runMqadmin(ctx context.Context, c config, p *page) error {
	if c.recorder != nil {
		c.recorder.SetClient(mqadminColumn + "-" + toolVersion)
		defer c.recorder.SetClient("")
	}
	s, err := c.start(ctx, "mqadmin", server.Options{RollAge: time.Second, Env: smallSegments})
	if err != nil {
		return err
	}
	r := &adminRun{cfg: c, page: p, server: s, names: map[string]string{
		"ns": server.RouteAddr, "addr": server.BrokerAddr, "broker": c.brokerName(), "cluster": "DefaultCluster",
		"dir": filepath.Join(c.work, "mqadmin-files"), "cold": server.HistoryAddr,
	}}
	if err := os.MkdirAll(r.names["dir"], 0o755); err != nil {
		return errors.Join(fmt.Errorf("making the tool's folder: %w", err), s.Stop())
	}
	for _, check := range adminChecks {
		if len(c.scenarios) > 0 && check.before == nil && !slices.Contains(c.scenarios, strings.Fields(check.line)[0]) {
			continue
		}
		r.try(ctx, check)
	}
	r.endTool()
	if r.member != nil {
		_ = r.member.Process.Kill() // it is only looked at
		_ = r.member.Wait()
	}
	if c.adminPage != "" {
		err = r.write(c.adminPage)
	}
	return errors.Join(err, s.Stop())
}

// java is a Java process with the tool's jars.
func (r *adminRun) java(ctx context.Context, class string, args ...string) *exec.Cmd {
	root := filepath.Join(r.cfg.cache, "mqadmin-"+toolVersion)
	cmd := exec.CommandContext(ctx, "java", append([]string{
		"-Xmx256m", "-Drocketmq.home.dir=" + r.home, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true",
		"-Duser.home=" + r.cfg.work, "-Drocketmq.client.logRoot=" + filepath.Join(r.cfg.work, "client-logs"),
		"--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
		"-cp", filepath.Join(root, "target", "classes") + ":" + filepath.Join(root, "lib", "*"), class,
	}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Dir = r.names["dir"]
	return cmd
}

// words are the words of a command line, names filled in.
func (r *adminRun) words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, r.fill(part))
			continue
		}
		for _, w := range strings.Fields(part) {
			out = append(out, r.fill(w))
		}
	}
	return out
}

// pattern fills in names as they are, not as expressions.
func (r *adminRun) pattern(s string) string {
	for name, value := range r.names {
		s = strings.ReplaceAll(s, "{"+name+"}", regexp.QuoteMeta(value))
	}
	return s
}

func (r *adminRun) fill(s string) string {
	for name, value := range r.names {
		s = strings.ReplaceAll(s, "{"+name+"}", value)
	}
	return s
}

func (r *adminRun) try(ctx context.Context, a adminCheck) {
	start := time.Now()
	row := adminRow{check: check{Name: r.fill(a.line), Column: mqadminColumn, Verdict: "ok"}, refused: a.refused != ""}
	note, err := r.run(ctx, a)
	row.Took, row.Note = time.Since(start), note
	if err != nil {
		row.Verdict, row.Note = "FAIL", strings.ReplaceAll(err.Error(), "\n", " ")
	}
	r.page.add(row.check)
	r.rows = append(r.rows, row)
}

// run runs one command and gives the line that shows what it did.
func (r *adminRun) run(ctx context.Context, a adminCheck) (string, error) {
	if a.before != nil {
		if err := a.before(ctx, r); err != nil {
			return "", err
		}
	}
	words := append(r.words(a.line), "-n", server.RouteAddr)
	if a.endless > 0 {
		ctx, cancel := context.WithTimeout(ctx, a.endless)
		defer cancel()
		out, _ := r.java(ctx, "org.apache.rocketmq.tools.command.MQAdminStartup", words...).CombinedOutput() // it is killed
		return r.judge(a, out)
	}
	out, err := r.command(ctx, words...)
	if err != nil {
		return "", err
	}
	return r.judge(a, out)
}

// command runs one command and gives what it printed. One that takes too long
// costs the process; the next gets another.
func (r *adminRun) command(ctx context.Context, words ...string) ([]byte, error) {
	if r.tool == nil {
		if err := r.startTool(ctx); err != nil {
			return nil, err
		}
	}
	guard := time.AfterFunc(toolLimit, func() { _ = r.tool.cmd.Process.Kill() })
	defer guard.Stop()
	out, err := r.tool.run(words)
	if err != nil {
		r.endTool()
		return nil, fmt.Errorf("the tool ended badly, or took over %v: %w", toolLimit, err)
	}
	return out, nil
}

func (t *adminTool) run(words []string) ([]byte, error) {
	if _, err := fmt.Fprintln(t.in, strings.Join(words, "\t")); err != nil {
		return nil, err
	}
	line, err := t.out.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return nil, err
	}
	out := make([]byte, n)
	_, err = io.ReadFull(t.out, out)
	return out, err
}

func (r *adminRun) startTool(ctx context.Context) error {
	cmd := r.java(ctx, "varve.e2e.Tool")
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("piping the tool's input: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("piping the tool's output: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the tool: %w", err)
	}
	r.tool = &adminTool{cmd, in, bufio.NewReader(out)}
	return nil
}

func (r *adminRun) endTool() {
	if r.tool == nil {
		return
	}
	_ = r.tool.cmd.Process.Kill()
	_ = r.tool.cmd.Wait()
	r.tool = nil
}

// failure matches what the tool prints of a command that failed: it ends with 0
// all the same.
var failure = regexp.MustCompile(`(?m)^(Caused by: )?[a-z]+\.[\w.$]+(Exception|Error)\b.*$`)

// judge holds a command's output to what is expected of it.
func (r *adminRun) judge(a adminCheck, out []byte) (string, error) {
	bad := failure.Find(out)
	if a.refused != "" {
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, a.refused) {
				return strings.TrimSpace(line), nil
			}
		}
		return "", fmt.Errorf("not refused with %q: %s", a.refused, tail(out))
	}
	if bad != nil && !a.noisy {
		return "", fmt.Errorf("%s", tail(out))
	}
	note := ""
	for _, want := range a.want {
		found := regexp.MustCompile("(?m)^.*" + r.pattern(want) + ".*$").Find(out)
		if found == nil {
			return "", fmt.Errorf("no %q in: %s", want, tail(out))
		}
		if note == "" {
			note = strings.Join(strings.Fields(string(found)), " ")
		}
	}
	return note, nil
}

func tail(out []byte) string {
	const most = 1500
	s := strings.TrimSpace(string(out))
	return s[:min(len(s), most)]
}

// startMember connects the client and learns the ids that it tells.
func startMember(ctx context.Context, r *adminRun) error {
	cmd := r.java(ctx, "varve.e2e.Member", server.RouteAddr, "mq_orders", "mq_group", fmt.Sprint(memberMessages))
	if _, err := cmd.StdinPipe(); err != nil {
		return fmt.Errorf("piping the member's input: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("piping the member's output: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the member: %w", err)
	}
	r.member = cmd
	guard := time.AfterFunc(toolLimit, func() { _ = cmd.Process.Kill() })
	defer guard.Stop()
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		f := strings.Split(sc.Text(), "\t")
		if f[0] != "READY" || len(f) != 6 {
			continue
		}
		for i, name := range []string{"msgid", "offsetid", "client", "queue", "offset"} {
			r.names[name] = f[i+1]
		}
		go func() { // the pipe must not fill
			for sc.Scan() {
			}
		}()
		return nil
	}
	return errors.New("the member did not get ready")
}

// findTraced waits until the trace of the member's last message is stored: its
// producer sends traces in the background.
func findTraced(ctx context.Context, r *adminRun) error {
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	for {
		out, err := r.command(ctx, "queryMsgByKey", "-t", "RMQ_SYS_TRACE_TOPIC", "-k", r.names["msgid"], "-n", server.RouteAddr)
		if err != nil || bytes.Contains(out, []byte("\n7F")) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no trace of message %s: %s", r.names["msgid"], tail(out))
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// archive moves all messages into the archive and out of the log.
func archive(ctx context.Context, r *adminRun) error {
	if r.server.Archive == "" {
		return nil
	}
	return archiveAndTrim(ctx, r.server)
}

// file writes a file that a command reads.
func file(name, text string) func(context.Context, *adminRun) error {
	return func(_ context.Context, r *adminRun) error {
		if err := os.WriteFile(filepath.Join(r.names["dir"], name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing the tool's input: %w", err)
		}
		return nil
	}
}

// write writes what was tried as Markdown.
func (r *adminRun) write(name string) error {
	var b strings.Builder
	b.WriteString("# mqadmin\n\n")
	fmt.Fprintf(&b, "Written by `make interop` on %s (%s, %d CPUs): the commands of RocketMQ's `mqadmin` %s (Maven `rocketmq-tools`, as published)\n"+
		"against `varve server`. The output of each was checked, and the line shown is from it.\n",
		r.page.Started.UTC().Format("2006-01-02"), runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), toolVersion)
	for _, part := range []struct {
		title   string
		refused bool
	}{{"What works", false}, {"What has no meaning here, and says so", true}} {
		fmt.Fprintf(&b, "\n## %s\n\n| command | result | said |\n|---|---|---|\n", part.title)
		for _, row := range r.rows {
			if row.refused != part.refused {
				continue
			}
			note := strings.ReplaceAll(row.Note, r.cfg.work, "…")
			line := strings.ReplaceAll(row.Name, r.cfg.work, "…")
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.ReplaceAll(line, "|", `\|`), row.Verdict, strings.ReplaceAll(note, "|", `\|`))
		}
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
