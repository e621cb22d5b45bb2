package worker

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"varve/query/wire"
)

// niceness keeps queries behind sends where both want the processor.
const niceness = 10

// limit binds the process by the kernel's limits. They can't be raised again.
func limit(l wire.Limits) error {
	data, err := dataSize()
	if err != nil {
		return err
	}
	for _, r := range []struct {
		name  string
		which int
		value int64
	}{
		{"memory", unix.RLIMIT_DATA, data + l.HardBytes},
		{"processor time", unix.RLIMIT_CPU, l.CPUSeconds},
		{"file size", unix.RLIMIT_FSIZE, l.SpillBytes},
		{"core size", unix.RLIMIT_CORE, 0},
	} {
		lim := unix.Rlimit{Cur: uint64(r.value), Max: uint64(r.value)}
		if err := unix.Setrlimit(r.which, &lim); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	// Of the group, which is the worker's own: of the process alone the kernel
	// takes the calling thread, and the run-time has begun others.
	return errors.Join(unix.Setpriority(unix.PRIO_PGRP, 0, niceness), unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
}

// dataSize is what the process has of writable private memory already, most
// of it reserved by the two run-times and never touched.
func dataSize() (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmData:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("/proc/self/status has no VmData")
}
