package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"varve/e2e/server"
	"varve/e2e/wire"
)

// converse runs a client's program: its RESULT lines are given on, its CALL
// lines answered. What it says on standard error goes to a file.
func converse(ctx context.Context, cmd *exec.Cmd, logFile string, verb func(ctx context.Context, verb, arg string) error, result func([]string)) error {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("opening the client's log: %w", err)
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("piping the client's output: %w", err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("piping the client's input: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the client: %w", err)
	}
	var calls sync.WaitGroup
	var mu sync.Mutex
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		f := strings.SplitN(sc.Text(), "\t", 5)
		switch {
		case f[0] == "RESULT" && len(f) == 5:
			result(f)
		case f[0] == "CALL" && len(f) == 4:
			calls.Go(func() {
				reply := "ok\t"
				if err := verb(ctx, f[2], f[3]); err != nil {
					reply = "error\t" + strings.ReplaceAll(err.Error(), "\n", " ")
				}
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(in, "%s\t%s\n", f[1], reply)
			})
		default: // a library that writes to standard output
			fmt.Fprintln(log, sc.Text())
		}
	}
	calls.Wait()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the client ended badly, see %s: %w", logFile, err)
	}
	return nil
}

// verb does what a scenario asks for.
func (l *languageRun) verb(ctx context.Context, key, verb, arg string) error {
	words := strings.Fields(arg)
	switch {
	case verb == "topic" && len(words) > 0: // NAME [TYPE]
		return l.putTopic(words[0], strings.Join(words[1:], ""))
	case verb == "group" && len(words) >= 3: // NAME ATTEMPTS ORDERLY [exponential]
		l.isMade(words[0])
		return putGroup(words[0], words[1], words[2] == "true", len(words) > 3)
	case verb == "reset" && len(words) == 2: // GROUP TOPIC
		if err := putGroup(words[0], "16", false, false); err != nil {
			return err
		}
		_, err := l.open.CLI(ctx, "group", "reset", words[0], "--topic", words[1], "--to", "earliest")
		return err
	case verb == "dead-letter": // GROUP
		if l.cfg.server == "apache" { // of who reads it
			if err := putGroup(arg+"_dead", "17", false, false); err != nil {
				return err
			}
		}
		return awaitDeadLetter(ctx, arg)
	case verb == "archive-and-trim" && len(words) == 2: // SCENARIO TOPIC
		return l.cold.pass(ctx, key+" "+words[0], func() error { return l.makeCold(ctx, words[1]) })
	}
	return fmt.Errorf("no such call: %s %s", verb, arg)
}

// putTopic makes a scenario's topic. The real broker takes messages of any type
// only where the topic says so, its proxy knows no group that nobody made, and
// the trace topic is its own.
func (l *languageRun) putTopic(name, typ string) error {
	if l.cfg.server == "apache" {
		if name == traceTopic {
			return nil
		}
		if group := "g_" + name; !l.isMade(group) {
			if err := putGroup(group, "17", false, false); err != nil {
				return err
			}
		}
		typ = cmp.Or(typ, "MIXED")
	}
	return wire.PutTopic(server.BrokerAddr, name, 4, typ)
}

const traceTopic = "RMQ_SYS_TRACE_TOPIC"

// isMade tells whether a group was made before; it is, from then on.
func (l *languageRun) isMade(group string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.made[group]
	l.made[group] = true
	return was
}

// putGroup makes a group whose retries come a second apart, or at first.
func putGroup(name, attempts string, orderly, exponential bool) error {
	n, err := strconv.Atoi(attempts)
	if err != nil {
		return fmt.Errorf("attempts %q: %w", attempts, err)
	}
	policy := map[string]any{"type": "CUSTOMIZED", "customizedRetryPolicy": map[string]any{"next": []int{1000}}}
	if exponential {
		policy = map[string]any{"type": "EXPONENTIAL", "exponentialRetryPolicy": map[string]any{"initial": 1000, "max": 10_000, "multiplier": 2}}
	}
	settings, err := json.Marshal(map[string]any{
		"groupName": name, "consumeEnable": true, "consumeBroadcastEnable": true, "consumeMessageOrderly": orderly, "retryMaxTimes": n - 1,
		"retryQueueNums": 1, "notifyConsumerIdsChangedEnable": true,
		"groupRetryPolicy": policy,
	})
	if err != nil {
		return fmt.Errorf("the group's settings: %w", err)
	}
	return wire.PutGroup(server.BrokerAddr, string(settings))
}

func getJSON(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server.HTTPAddr+path, nil)
	if err != nil {
		return fmt.Errorf("asking for %s: %w", path, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking for %s: %w", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return fmt.Errorf("asking for %s: %w", path, err)
	}
	return nil
}

// awaitDeadLetter waits until a group has one. Its topic is there with the first.
func awaitDeadLetter(ctx context.Context, group string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := wire.Dial(server.BrokerAddr)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		_, next, err := c.Bounds("%DLQ%"+group, 0)
		if err == nil && next > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no dead letter of %s: %w", group, errors.Join(ctx.Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// coldTries is how often a trim is tried: it frees whole segments, and a message
// that comes late to any topic holds back the last one.
const coldTries = 5

func (l *languageRun) makeCold(ctx context.Context, topic string) (err error) {
	for range coldTries {
		if err = archiveAndTrim(ctx, l.open); err != nil {
			return err
		}
		if err = isCold(ctx, topic); err == nil {
			return nil
		}
	}
	return err
}

// isCold demands that the hot log has nothing of a topic.
func isCold(ctx context.Context, topic string) error {
	var t struct {
		Detail []struct {
			ID       int32
			HotStart int64 `json:"hot_start"`
			Max      int64
		}
	}
	if err := getJSON(ctx, "/api/v1/topics/"+topic, &t); err != nil {
		return err
	}
	if len(t.Detail) == 0 {
		return fmt.Errorf("topic %s shows no queue", topic)
	}
	for _, q := range t.Detail {
		if q.HotStart != q.Max {
			return fmt.Errorf("queue %d of %s is hot from %d to %d after the trim", q.ID, topic, q.HotStart, q.Max)
		}
	}
	return nil
}

// coldGate lets the scenarios that trim do it when all of them wait for it, so
// that nobody sends meanwhile.
type coldGate struct {
	mu      sync.Mutex
	coming  map[string]bool // client and scenario
	waiting []chan struct{}
}

// gatePatience is how long a scenario that sends on is waited for.
const gatePatience = 20 * time.Second

func (g *coldGate) expect(who string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.coming[who] = true
}

// leave says that one comes no more.
func (g *coldGate) leave(who string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.coming, who)
	if len(g.coming) > 0 {
		return
	}
	for _, c := range g.waiting {
		close(c)
	}
	g.waiting = nil
}

// pass waits for the others, then trims.
func (g *coldGate) pass(ctx context.Context, who string, trim func() error) error {
	c := make(chan struct{})
	g.mu.Lock()
	g.waiting = append(g.waiting, c)
	g.mu.Unlock()
	g.leave(who)
	select {
	case <-c:
	case <-time.After(gatePatience):
	case <-ctx.Done():
		return fmt.Errorf("waiting to trim: %w", ctx.Err())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return trim()
}
