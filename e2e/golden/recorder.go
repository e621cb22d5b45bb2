package golden

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

const (
	// longest bounds a request that is kept: what is above is one long body.
	longest = 5 << 10
	// shapes is how many requests of one kind are kept of a client.
	shapes = 2
	// neutral is the only host name that may get into a file: clients put the
	// machine's into their ids.
	neutral = "localhost"
)

// Recorder keeps requests; it is used by many connections at once.
type Recorder struct {
	mu      sync.Mutex
	forward map[string]string // where connections to an address go
	client  string            // who all are, "" if they tell it themselves
	kept    map[file]map[shape]request
}

// file is one client's requests to one front.
type file struct{ front, client string }

// shape is what requests are told apart by: their kind, which is the code or
// the RPC and what says of a message what it is, and the fields that are there.
type shape struct{ kind, fields string }

type request struct {
	size int
	line any // what its line says
}

// New is a recorder that has seen nothing.
func New() (*Recorder, error) {
	if name, err := os.Hostname(); err != nil || name != neutral {
		return nil, fmt.Errorf("clients would tell the name of this machine, %q: it has to be %q (error %v)", name, neutral, err)
	}
	return &Recorder{forward: map[string]string{}, kept: map[file]map[shape]request{}}, nil
}

// SetClient says who all clients are from now on; "" has them say it themselves.
func (r *Recorder) SetClient(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client = name
}

// reader reads one connection: what the client sends and what it is sent. It
// reads both to their ends, also where it understands nothing.
type reader func(r *Recorder, fromClient, toClient io.Reader)

// Remoting forwards connections of remoting clients, until the process ends.
func (r *Recorder) Remoting(listen, to string) error { return r.between(listen, to, readRemoting) }

// GRPC does the same for gRPC clients.
func (r *Recorder) GRPC(listen, to string) error { return r.between(listen, to, readGRPC) }

func (r *Recorder) between(listen, to string, read reader) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.forward[listen] == to {
		return nil
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("recording what comes to %s: %w", listen, err)
	}
	r.forward[listen] = to
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go r.pass(c, to, read)
		}
	}()
	return nil
}

// pass carries one connection both ways, past the reader.
func (r *Recorder) pass(client net.Conn, to string, read reader) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var all sync.WaitGroup
	var seen [2]io.Reader
	for i, way := range [][2]net.Conn{{client, server}, {server, client}} {
		out, in := io.Pipe()
		seen[i] = out
		all.Go(func() {
			_, err := io.Copy(way[1], io.TeeReader(way[0], in))
			in.CloseWithError(cmp.Or(err, io.EOF))
			if half, ok := way[1].(*net.TCPConn); ok {
				_ = half.CloseWrite()
			}
		})
	}
	read(r, seen[0], seen[1])
	all.Wait()
}

// keep takes a request in, unless there is a shorter one of its shape. Known
// clients have a name.
func (r *Recorder) keep(front, client string, s shape, size int, line any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != "" {
		client = r.client
	}
	if client == "" || size > longest {
		return
	}
	f := file{front, client}
	if r.kept[f] == nil {
		r.kept[f] = map[shape]request{}
	}
	if old, ok := r.kept[f][s]; !ok || size < old.size {
		r.kept[f][s] = request{size, line}
	}
}

// Write writes the files of all clients that were seen, each anew, to
// testdata/frames of their fronts under a folder.
func (r *Recorder) Write(fronts string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for f, requests := range r.kept {
		var text strings.Builder
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		many := map[string]int{}
		for _, s := range slices.SortedFunc(maps.Keys(requests), func(a, b shape) int {
			return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.fields, b.fields))
		}) {
			if many[s.kind]++; many[s.kind] <= shapes {
				errs = append(errs, e.Encode(requests[s].line))
			}
		}
		dir := filepath.Join(fronts, f.front, "testdata", "frames")
		name := filepath.Join(dir, f.client+".jsonl")
		errs = append(errs, os.MkdirAll(dir, 0o755), os.WriteFile(name, []byte(text.String()), 0o644))
		fmt.Printf("recorded %s\n", name)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("writing recorded requests: %w", err)
	}
	return nil
}
