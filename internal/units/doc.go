// Package units reads and writes spans of time and amounts of bytes as people
// write them: "90d", "1d12h", "500GiB". Settings and retention rules share it.
package units
