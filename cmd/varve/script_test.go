package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// A query worker is this program again, whatever its name.
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		main()
	}
	testscript.Main(m, map[string]func(){"varve": main})
}

// TestScripts runs the command line as a user does. Besides testscript's own
// commands there are:
//
//	serve ARGS…  start a server on free ports with its data in $WORK/data, wait
//	             until it is ready, and point the other commands at it
//	stop         end it by SIGTERM; it must exit with 0 soon
//	crash        end it by SIGKILL
//	code N CMD…  run a command that must exit with N
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": serve, "stop": stopServer, "crash": crash, "code": code,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// running is the server of a script.
type running struct{ cmd *exec.Cmd }

func serve(ts *testscript.TestScript, _ bool, args []string) {
	bin, err := exec.LookPath("varve")
	if path := ts.Getenv("PATH"); err != nil {
		bin = filepath.Join(strings.Split(path, string(os.PathListSeparator))[0], "varve")
	}
	all := append([]string{
		"server", "--data-dir", ts.MkAbs("data"), "--route.listen=127.0.0.1:0", "--broker.listen=127.0.0.1:0", "--grpc.listen=127.0.0.1:0", "--mqhttp.listen=127.0.0.1:0",
		"--history.listen=127.0.0.1:0", "--http.listen=127.0.0.1:0", "--log.level=warn", "--hot.min-free=16MiB",
	}, args...)
	cmd := exec.Command(bin, all...)
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	deadline := time.After(time.Minute)
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				ts.Fatalf("the server ended before it was ready")
			}
			f := strings.Fields(l)
			if len(f) == 2 && f[0] == "HTTP" {
				ts.Setenv("VARVE_SERVER", f[1])
			}
			if strings.HasPrefix(l, "ready") {
				go func() {
					for range lines { // whatever else it prints
					}
				}()
				servers.Store(ts, &running{cmd})
				return
			}
		case <-deadline:
			ts.Fatalf("the server is not ready after a minute")
		}
	}
}

// servers holds each script's *running; scripts run side by side.
var servers sync.Map

func stopServer(ts *testscript.TestScript, _ bool, _ []string) {
	v, ok := servers.LoadAndDelete(ts)
	if !ok {
		ts.Fatalf("no server runs")
	}
	r := v.(*running)
	ts.Check(r.cmd.Process.Signal(syscall.SIGTERM))
	ended := make(chan error, 1)
	go func() { ended <- r.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			ts.Fatalf("the server ended with %v", err)
		}
	case <-time.After(15 * time.Second):
		ts.Fatalf("the server still runs 15 s after SIGTERM")
	}
}

func crash(ts *testscript.TestScript, _ bool, _ []string) {
	v, ok := servers.LoadAndDelete(ts)
	if !ok {
		ts.Fatalf("no server runs")
	}
	r := v.(*running)
	ts.Check(r.cmd.Process.Kill())
	_ = r.cmd.Wait()
}

func code(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N CMD…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = strconv.Itoa(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}
