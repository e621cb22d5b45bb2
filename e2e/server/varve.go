package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// callLimit bounds one admin call; a flush waits for the connector.
const callLimit = 3 * time.Minute

// Varve is where the binary is.
type Varve struct{ Binary string }

// Start starts the server over the folder and waits until it says that it is ready.
func (v Varve) Start(ctx context.Context, o Options) (*Server, error) {
	s, err := v.Spawn(o)
	if err != nil {
		return nil, err
	}
	return s, s.Await(ctx)
}

// Spawn starts the server over the folder and doesn't wait.
func (v Varve) Spawn(o Options) (*Server, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the broker's folder: %w", err)
	}
	data := filepath.Join(o.Dir, "data")
	cmd := exec.Command(v.Binary, "server", "--data-dir", data)
	cmd.Env = append(os.Environ(), v.settings(o)...)
	cmd.Dir = o.Dir
	spawned := time.Now()
	ready, said := onLine("ready;")
	p, err := spawn("varve", filepath.Join(o.Dir, "varve.log"), ready, cmd)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Name: "varve", Dir: o.Dir, Addrs: o.Addresses(), Spawned: spawned, broker: p, said: said,
		HotDirs: []string{filepath.Join(data, "log"), filepath.Join(data, "meta")},
	}
	s.cli = func(ctx context.Context, args ...string) ([]byte, error) {
		return v.cli(ctx, append([]string{"--server", "http://" + s.Addrs.HTTP}, args...))
	}
	if !o.HotOnly && o.S3 == nil {
		s.Archive = filepath.Join(data, "archive")
	}
	return s, nil
}

// Await waits until the server says that it is ready.
func (s *Server) Await(ctx context.Context) error { return s.broker.waitLine(ctx, s.said) }

// settings are the configuration of a run, as environment: the one place that knows the keys.
func (v Varve) settings(o Options) []string {
	a := o.Addresses()
	env := []string{
		"VARVE_ROUTE_LISTEN=" + a.Route,
		"VARVE_BROKER_LISTEN=" + a.Broker,
		"VARVE_GRPC_LISTEN=" + a.GRPC,
		"VARVE_HISTORY_LISTEN=" + a.History,
		"VARVE_HTTP_LISTEN=" + a.HTTP,
		"VARVE_MQHTTP_LISTEN=127.0.0.1:0", // who uses it says where, in Options.Env
		"VARVE_HTTP_PPROF=true",
		"VARVE_LOG_LEVEL=warn",
	}
	if o.SyncFlush {
		env = append(env, "VARVE_HOT_FLUSH=sync")
	}
	if o.HotOnly {
		env = append(env, "VARVE_ROLES=route,broker")
	}
	if o.Access {
		env = append(env, "VARVE_AUTH_ENABLED=true", "VARVE_AUTH_SUPER_USER="+RootUser, "VARVE_AUTH_SUPER_SECRET_KEY="+RootSecret)
	}
	if o.TLSOnly {
		env = append(env, "VARVE_TLS_MODE=enforcing")
	}
	if o.RollAge > 0 {
		env = append(env, "VARVE_CONNECTOR_ROLL_AGE="+o.RollAge.String())
	}
	if o.S3 != nil {
		env = append(env,
			"VARVE_ARCHIVE_KIND=s3", "VARVE_ARCHIVE_S3_ENDPOINT="+o.S3.Endpoint, "VARVE_ARCHIVE_S3_BUCKET="+o.S3.Bucket,
			"VARVE_ARCHIVE_S3_ACCESS_KEY="+o.S3.AccessKey, "VARVE_ARCHIVE_S3_SECRET_KEY="+o.S3.SecretKey, "VARVE_ARCHIVE_S3_TLS=false")
	}
	return append(env, o.Env...)
}

func (v Varve) cli(ctx context.Context, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, v.Binary, args...).CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("varve %v: %w: %s", args, err, bytes.TrimSpace(out))
	}
	return out, nil
}

// ArchiveAll waits until everything sent so far is in a committed snapshot.
func (s *Server) ArchiveAll(ctx context.Context) error {
	_, err := post(ctx, s.Addrs.HTTP, "/api/v1/archive/flush")
	return err
}

// TrimAll lets the hot log forget all that is archived.
func (s *Server) TrimAll(ctx context.Context) error {
	_, err := post(ctx, s.Addrs.HTTP, "/api/v1/hot/trim?keep_bytes=0")
	return err
}

func post(ctx context.Context, addr, path string) ([]byte, error) {
	return call(ctx, http.MethodPost, addr, path, nil)
}

// Ask sends a request to the server's own API, with what as its JSON, and gives the answer; what may be nil.
func (s *Server) Ask(ctx context.Context, method, path string, what any) ([]byte, error) {
	if what == nil {
		return call(ctx, method, s.Addrs.HTTP, path, nil)
	}
	body, err := json.Marshal(what)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", path, err)
	}
	return call(ctx, method, s.Addrs.HTTP, path, body)
}

func call(ctx context.Context, method, addr, path string, what []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, bytes.NewReader(what))
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", path, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the answer to %s: %w", path, err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("asking for %s: %s: %s", path, resp.Status, bytes.TrimSpace(body))
	}
	return body, nil
}

// Get asks the server's own API and decodes the answer.
func (s *Server) Get(ctx context.Context, path string, into any) error {
	body, err := call(ctx, http.MethodGet, s.Addrs.HTTP, path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the answer to %s: %w", path, err)
	}
	return nil
}
