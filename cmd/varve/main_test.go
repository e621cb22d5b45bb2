package main

import (
	"bytes"
	"os"
	"sync"
	"syscall"
	"testing"
)

// silent is an input that says when it is first read and never has anything.
type silent struct {
	once sync.Once
	read chan struct{}
}

func (s *silent) Read([]byte) (int, error) {
	s.once.Do(func() { close(s.read) })
	select {}
}

func TestWaitingCommandIsInterrupted(t *testing.T) {
	in := &silent{read: make(chan struct{})}
	go func() {
		<-in.read
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}()
	var out, errs bytes.Buffer
	if code := run([]string{"message", "send", "orders"}, in, &out, &errs); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	if got := errs.String(); got != "varve: interrupted\n" {
		t.Errorf("it says %q", got)
	}
}
