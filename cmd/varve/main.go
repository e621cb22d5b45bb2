// Command varve is the whole of Varve in one binary: the server with its
// roles, a demo that checks itself, and the commands that administer a
// running server.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no such
// thing, 4 no server answers, 5 refused (bad input, conflict or a limit).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"varve/internal/admin"
	"varve/internal/app"
	"varve/internal/archive"
	"varve/internal/archive/audit"
	"varve/internal/config"
)

// Exit codes.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
	exitNoServer = 4
	exitRefused  = 5
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is one call of the command; an interrupt ends its context, a second one
// the process.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(interruptible{ctx, stdin})
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	if asksJSON(root, args, err) {
		_ = json.NewEncoder(stderr).Encode(map[string]*admin.Error{"error": {Code: errorCode(err), Message: err.Error()}})
	} else {
		fmt.Fprintln(stderr, "varve: "+err.Error())
	}
	return exitCode(err)
}

var errInterrupted = errors.New("interrupted")

// interruptible is an input that gives up waiting when its context ends.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	buf, got := make([]byte, len(p)), make(chan result, 1)
	go func() {
		n, err := i.r.Read(buf)
		got <- result{n, err}
	}()
	select {
	case r := <-got:
		return copy(p, buf[:r.n]), r.err
	case <-i.ctx.Done():
		return 0, i.ctx.Err()
	}
}

// asksJSON reports whether an error goes out as JSON. A command line that
// can't be parsed is searched for the flag.
func asksJSON(root *cobra.Command, args []string, err error) bool {
	if kind, _ := root.PersistentFlags().GetString("output"); kind == "json" {
		return true
	}
	var usage usageError
	line := " " + strings.Join(args, " ") + " "
	return errors.As(err, &usage) && slices.ContainsFunc([]string{"-o json", "-ojson", "-o=json", "--output json", "--output=json"}, func(f string) bool {
		return strings.Contains(line, " "+f+" ")
	})
}

// errorCode is the word for an error in JSON: the API's own, or one of usage,
// not_found, no_server, interrupted and failed.
func errorCode(err error) string {
	var api *admin.Error
	switch {
	case errors.Is(err, errInterrupted):
		return "interrupted"
	case errors.As(err, &api):
		return api.Code
	}
	switch exitCode(err) {
	case exitUsage:
		return "usage"
	case exitNotFound:
		return admin.CodeNotFound
	case exitNoServer:
		return "no_server"
	}
	return "failed"
}

// usageError is a command line that can't be run.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var (
		usage usageError
		conf  *config.Error
		api   *admin.Error
	)
	switch {
	case errors.Is(err, audit.ErrNoTopic), errors.Is(err, archive.ErrNoArchive):
		return exitNotFound
	case errors.As(err, &usage), errors.As(err, &conf), errors.Is(err, admin.ErrAddress):
		return exitUsage
	case errors.Is(err, admin.ErrNoServer), errors.Is(err, app.ErrNoNameServer):
		return exitNoServer
	case errors.As(err, &api):
		switch {
		case api.Status == http.StatusNotFound:
			return exitNotFound
		case api.Code == admin.CodeInternal, api.Code == admin.CodeUnavailable: // in a stream an error has no status
			return exitFailed
		case api.Status < http.StatusInternalServerError, api.Code == admin.CodeLimit:
			return exitRefused
		}
	}
	return exitFailed
}
