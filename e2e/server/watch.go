package server

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is the kernel's USER_HZ, 100 on every platform that Go runs on.
const ticksPerSecond = 100

// CPU is the time that the broker's process has taken so far, user and system.
func (s *Server) CPU() (time.Duration, error) { return CPUOf(s.PID()) }

// CPUOf is the time that a process has taken so far, user and system, its ended children not counted.
func CPUOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of %d: %w", pid, err)
	}
	// The name in parentheses may hold anything, so count from the last one.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("reading the CPU time of %d: short line %q", pid, b)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("reading the CPU time of %d: %q", pid, b)
	}
	return time.Duration(user+system) * (time.Second / ticksPerSecond), nil
}

// Memory is what a process holds, in bytes.
type Memory struct {
	Resident  int64 // with pages of mapped files
	Anonymous int64 // heap, stacks: what can't be dropped
	Peak      int64 // highest resident so far
}

// Memory reads the broker's memory.
func (s *Server) Memory() (Memory, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return Memory{}, fmt.Errorf("reading the memory of %s: %w", s.Name, err)
	}
	var m Memory
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != "kB" {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return Memory{}, fmt.Errorf("reading the memory of %s: %q", s.Name, line)
		}
		switch f[0] {
		case "VmRSS:":
			m.Resident = n << 10
		case "VmHWM:":
			m.Peak = n << 10
		case "RssAnon:":
			m.Anonymous = n << 10
		}
	}
	return m, nil
}

// ResetPeak makes the kernel forget the highest resident size so far.
func (s *Server) ResetPeak() error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.PID()), []byte("5"), 0o200); err != nil {
		return fmt.Errorf("resetting the memory peak of %s: %w", s.Name, err)
	}
	return nil
}

// HotBytes are the allocated bytes of what the broker keeps for hot messages.
func (s *Server) HotBytes() (int64, error) { return DiskBytes(s.HotDirs...) }

// DiskBytes sums the blocks that the files under the folders take (holes don't count).
func DiskBytes(dirs ...string) (int64, error) {
	var sum int64
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return ignoreGone(err)
			}
			info, err := d.Info()
			if err != nil {
				return ignoreGone(err)
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("adding up the files in %s: %w", dir, err)
		}
	}
	return sum, nil
}

// ignoreGone forgives a file that went away while the folder was walked.
func ignoreGone(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
