// Command varve is the whole of Varve in one binary: the server with its
// roles, a demo that checks itself, and the commands that administer a
// running server.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no such
// thing, 4 no server answers, 5 refused (bad input, conflict or a limit).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"varve/internal/admin"
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

// run is one call of the command; an interrupt ends its context.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "varve: "+err.Error())
	return exitCode(err)
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
	case errors.As(err, &usage), errors.As(err, &conf):
		return exitUsage
	case errors.Is(err, admin.ErrNoServer):
		return exitNoServer
	case errors.As(err, &api):
		switch {
		case api.Status == http.StatusNotFound:
			return exitNotFound
		case api.Status < http.StatusInternalServerError:
			return exitRefused
		}
	}
	return exitFailed
}
