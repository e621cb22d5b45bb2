//go:build !linux

package query

import "os/exec"

// startConfined starts a worker. Where there is no Landlock, DuckDB's own lock
// is what keeps it from writing.
func startConfined(cmd *exec.Cmd, _ string) error { return cmd.Start() }
