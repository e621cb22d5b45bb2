package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// checkLimit is for a question and what follows from it.
const checkLimit = 100 * time.Second

// questions are what a producer was asked.
type questions struct {
	mu    sync.Mutex
	about map[string]*message
}

func newQuestions() *questions { return &questions{about: map[string]*message{}} }

// answer goes by the body: late-commit…, late-rollback….
func (q *questions) answer(m *message) verdict {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.about[m.body] = m
	switch {
	case strings.HasPrefix(m.body, "late-commit"):
		return commit
	case strings.HasPrefix(m.body, "late-rollback"):
		return rollback
	}
	return inDoubt
}

func (q *questions) all() map[string]*message {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := map[string]*message{}
	for k, v := range q.about {
		out[k] = v
	}
	return out
}

func (e *env) bank(asked func(*message) verdict) (bank, error) {
	b, err := e.lib.bank(e.plan.Plain, e.topic, asked)
	if err != nil {
		return nil, fmt.Errorf("starting a transaction producer: %w", err)
	}
	e.onClose(b.close)
	return b, nil
}

// transaction commits and rolls back; nothing is seen before its commit.
func transaction(e *env) error {
	if err := e.prepare("TRANSACTION"); err != nil {
		return err
	}
	b, err := e.bank(newQuestions().answer)
	if err != nil {
		return err
	}
	in, err := e.consume()
	if err != nil {
		return err
	}
	sent := map[string]string{}
	for i := range 30 {
		for body, v := range map[string]verdict{"commit" + strconv.Itoa(i): commit, "rollback" + strconv.Itoa(i): rollback} {
			r, err := b.send(e, e.message(body), v)
			if err != nil {
				return fmt.Errorf("%s: %w", body, err)
			}
			sent[body] = r.id
		}
	}
	if err := first(in.exactly(e, "commit", 30), equal("rolled back and seen", 0, len(in.of("rollback")))); err != nil {
		return err
	}
	for _, m := range in.messages() {
		if err := first(equal("topic", e.topic, m.topic), equal("tag", "TagA", m.tag), equal("id", sent[m.body], m.id)); err != nil {
			return err
		}
	}
	return nil
}

// late waits for the end of five commits and five rollbacks that were left in doubt.
func late(e *env, in *inbox, q *questions) error {
	err := e.until("a question about each, and its commit", checkLimit, func() bool { return len(q.all()) == 10 && len(in.of("late-commit")) == 5 })
	if err != nil {
		return fmt.Errorf("%w: %d questions, %d messages", err, len(q.all()), len(in.of("late-commit")))
	}
	if err := first(in.exactly(e, "late-commit", 5), equal("rolled back and seen", 0, len(in.of("late-rollback")))); err != nil {
		return err
	}
	for body, m := range q.all() {
		if err := first(equal("topic of the question", e.topic, m.topic), equal("its key", "key-"+body, strings.Join(m.keys, " "))); err != nil {
			return err
		}
	}
	return nil
}

func leaveTen(ctx context.Context, b bank, message func(string) *message) error {
	for i := range 5 {
		for _, body := range []string{"late-commit", "late-rollback"} {
			if _, err := b.send(ctx, message(body+strconv.Itoa(i)), inDoubt); err != nil {
				return fmt.Errorf("%s%d: %w", body, i, err)
			}
		}
	}
	return nil
}

// transactionCheck leaves transactions in doubt, and ends them when it is asked.
func transactionCheck(e *env) error {
	if err := e.prepare("TRANSACTION"); err != nil {
		return err
	}
	in, err := e.consume()
	if err != nil {
		return err
	}
	q := newQuestions()
	b, err := e.bank(q.answer)
	if err := first(err, leaveTen(e, b, e.message)); err != nil {
		return err
	}
	return first(equal("seen before the question", 0, len(in.of("late"))), late(e, in, q))
}

// transactionOrphan has another process leave transactions in doubt, kills it,
// and is asked in its place.
func transactionOrphan(e *env) error {
	if err := e.prepare("TRANSACTION"); err != nil {
		return err
	}
	in, err := e.consume()
	if err != nil {
		return err
	}
	if err := killOne(e); err != nil {
		return err
	}
	q := newQuestions()
	b, err := e.bank(q.answer)
	if err != nil {
		return err
	}
	// A remoting client says that it is there when it has sent.
	if _, err := b.send(e, e.message("there"), commit); err != nil {
		return err
	}
	return late(e, in, q)
}

// killOne runs leaveInDoubt in a process and kills it.
func killOne(e *env) error {
	text, err := json.Marshal(e.plan)
	if err != nil {
		return fmt.Errorf("the plan: %w", err)
	}
	cmd := exec.CommandContext(e, os.Args[0], "-client", e.client, "-leave", e.topic, string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("piping the other process: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the other process: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if err != nil || strings.TrimSpace(line) != "left" {
		return fmt.Errorf("the other process said %q: %v", line, err)
	}
	return nil
}

// leaveInDoubt is that process.
func leaveInDoubt(ctx context.Context, lib library, at place, topic string) error {
	b, err := lib.bank(at, topic, func(*message) verdict { return inDoubt })
	if err != nil {
		return fmt.Errorf("starting a transaction producer: %w", err)
	}
	err = leaveTen(ctx, b, func(body string) *message {
		return &message{topic: topic, body: body, tag: "TagA", keys: []string{"key-" + body}, queue: -1}
	})
	if err != nil {
		return err
	}
	fmt.Println("left")
	<-ctx.Done()
	return nil
}
