package remoting_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	wire "varve/internal/remoting"
)

var (
	record        = flag.Bool("record", false, "have TestGoClient record the client's requests to testdata/frames")
	recordCommand = flag.String("record-command", "", "have TestRecordClient run a client by this shell command, with the name server's address in $ROUTE")
	recordName    = flag.String("record-name", "", "the client's name in the files that TestRecordClient writes")
	update        = flag.Bool("update", false, "write testdata/frames.golden anew")
)

const framesDir = "testdata/frames"

// recorder gives a nodeOptions.announce that puts a tee between the client and
// the broker. It keeps the first request of each code; nil without -record.
func recorder(t testing.TB) func(testing.TB, netip.AddrPort) string {
	if !*record {
		return nil
	}
	return func(t testing.TB, to netip.AddrPort) string {
		return startTee(t, "go-2.1.2", to.String())
	}
}

// startTee records what passes to a server, and gives the address to use in
// its place.
func startTee(t testing.TB, name, to string) string {
	ln := listen(t)
	r := &tee{t: t, name: name, to: to, seen: map[int]bool{}}
	go r.accept(ln)
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

// TestRecordClient records the requests of a client that another command runs,
// such as an Apache Java client's.
func TestRecordClient(t *testing.T) {
	if *recordCommand == "" {
		t.Skip("no -record-command")
	}
	n := startNode(t, nodeOptions{announce: func(t testing.TB, addr netip.AddrPort) string {
		return startTee(t, *recordName, addr.String())
	}})
	cmd := exec.Command("sh", "-c", *recordCommand)
	cmd.Env = append(os.Environ(), "ROUTE="+startTee(t, *recordName, n.route))
	out, err := cmd.CombinedOutput()
	t.Logf("%s\n%v", out, err)
}

type tee struct {
	t    testing.TB
	name string
	to   string
	mu   sync.Mutex
	seen map[int]bool
}

func (r *tee) accept(ln net.Listener) {
	for {
		in, err := ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = in.Close()
			return
		}
		go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		go func() { r.requests(in, out); _ = out.Close() }()
	}
}

func (r *tee) requests(in io.Reader, out io.Writer) {
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		frame := make([]byte, 4+binary.BigEndian.Uint32(head[:]))
		copy(frame, head[:])
		if _, err := io.ReadFull(in, frame[4:]); err != nil {
			return
		}
		r.keep(frame)
		if _, err := out.Write(frame); err != nil {
			return
		}
	}
}

func (r *tee) keep(frame []byte) {
	var cmd wire.Command
	if err := wire.DecodeFrame(bytes.Clone(frame[4:]), &cmd); err != nil {
		r.t.Errorf("the client's own frame: %v", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if cmd.IsReply() || r.seen[cmd.Code] || len(frame) > 8<<10 {
		return
	}
	r.seen[cmd.Code] = true
	name := fmt.Sprintf("%s/%s-%03d", framesDir, r.name, cmd.Code)
	if err := os.WriteFile(name, frame, 0o644); err != nil {
		r.t.Error(err)
	}
}

// TestGoldenFrames decodes requests that were recorded from real clients and
// holds the result to a text.
func TestGoldenFrames(t *testing.T) {
	names, err := filepath.Glob(framesDir + "/*")
	if err != nil || len(names) == 0 {
		t.Fatalf("frames %v, %v", names, err)
	}
	var out strings.Builder
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var cmd, again wire.Command
		if err := wire.DecodeFrame(raw[4:], &cmd); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		describe(&out, filepath.Base(name), &cmd)
		if err := wire.DecodeFrame(wire.AppendFrame(nil, &cmd)[4:], &again); err != nil {
			t.Errorf("%s, encoded again: %v", name, err)
		}
		var first, second strings.Builder
		describe(&first, "", &cmd)
		describe(&second, "", &again)
		if first.String() != second.String() {
			t.Errorf("%s, encoded again:\n%s\nwas\n%s", name, second.String(), first.String())
		}
	}
	const golden = "testdata/frames.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("decoded frames differ from %s (run with -update to see how):\n%s", golden, out.String())
	}
}

func describe(w io.Writer, name string, c *wire.Command) {
	fmt.Fprintf(w, "%s: code %d, serializer %d, language %s, version %d, one-way %t, remark %q\n",
		name, c.Code, c.Serializer, c.Language, c.Version, c.IsOneWay(), c.Remark)
	var fields []string
	for k, v := range c.Ext.All() {
		fields = append(fields, fmt.Sprintf("\t%s = %q\n", k, v))
	}
	slices.Sort(fields)
	fmt.Fprint(w, strings.Join(fields, ""))
	switch {
	case json.Valid(c.Body):
		fmt.Fprintf(w, "\tbody %s\n", c.Body)
	case len(c.Body) > 0:
		fmt.Fprintf(w, "\tbody of %d bytes %q\n", len(c.Body), c.Body[:min(len(c.Body), 64)])
	}
}
