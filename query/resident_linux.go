package query

import (
	"fmt"
	"os"
)

// residentBase is what a worker holds without a query: program pages that it
// shares with the server.
const residentBase = 256 << 20

// residentBytes is the memory that a process holds, 0 where unknown.
func residentBytes(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}
