//go:build !linux

package worker

import "varve/query/wire"

// limit does nothing where the kernel's limits are not known; DuckDB's own
// limits and the engine's deadline remain.
func limit(wire.Limits) error { return nil }
