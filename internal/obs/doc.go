// Package obs is what an operator sees of a process: its logger, its metrics
// registry and its health.
//
// Metrics are read from the parts when they are asked for, so that no counter
// is kept twice; their names are in metrics.go and in docs/ops/metrics.md.
package obs
