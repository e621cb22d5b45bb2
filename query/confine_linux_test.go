package query

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfine(t *testing.T) {
	if v, err := landlockVersion(); err != nil || v < versionTCP {
		t.Skipf("the kernel's Landlock is of version %d (%v)", v, err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, spillDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Dir = dir
	cmd.Env = []string{workerEnv + "=escape", "ADDRESS=" + ln.Addr().String()}
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := startConfined(cmd, filepath.Join(dir, spillDir)); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	out := text.Bytes()
	// The server itself stays free, on every thread it may get.
	for i := range 50 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := "read: true\nspill: true\ncreate: false\noverwrite: false\ntruncate: false\nremove: false\nmkdir: false\nmove: false\nlink: false\nconnect: false\n"
	if err != nil || string(out) != want {
		t.Errorf("%v, got\n%swant\n%s", err, out, want)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || !bytes.Equal(b, []byte("kept")) {
		t.Errorf("the file is %q, %v", b, err)
	}
	if strings.Contains(string(out), "free") {
		t.Error("a thread was not confined")
	}
}
