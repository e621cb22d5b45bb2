package history

import (
	"cmp"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"varve/internal/archive"
)

// Limits that are not for the user to set.
const (
	// blockBytes is the piece of an object that is cached and evicted.
	blockBytes = 256 << 10
	// maxRequest bounds one request to the bucket.
	maxRequest = 4 << 20
	// requestsPerRead bounds the requests of one read at a time.
	requestsPerRead = 4
	// streams is how many sequential readers are remembered.
	streams = 4096
	// knownSizes bounds the remembered object lengths.
	knownSizes = 1 << 16
	// tailBytes is what a file's footer and indexes take, about.
	tailBytes = 128 << 10
	// usedFor is how long after its last read a table is still polled.
	usedFor = 10 * time.Minute
	// refreshEvery is how often a retainer looks for other processes' commits.
	refreshEvery = 10 * time.Minute
)

// Config sets up a Node. Zero fields take the defaults.
type Config struct {
	Dir string // for the disk cache; emptied at the start

	// MemoryBytes bounds cached ranges in memory and DiskBytes on disk, for a
	// bucket that is not a local directory; 64 MiB and 4 GiB. (A directory's
	// files are in the page cache.)
	MemoryBytes, DiskBytes int64
	// FileBytes bounds whole files on disk for SQL, with the same exception;
	// 8 GiB.
	FileBytes int64
	// Requests bounds the requests to the bucket at a time; 16.
	Requests int
	// BytesPerSecond bounds what is read from the bucket; no bound.
	BytesPerSecond int64
	// Reads bounds the reads that decode at a time; the number of processors.
	// While HotEnd moves it is half of that, at least 1.
	Reads int
	// HotEnd gives the end of the hot log that this process writes, nil for
	// none: while it moves, cold reads give way to sends (lane.go).
	HotEnd func() int64
	// ReadAhead bounds what is fetched ahead of one sequential reader, and
	// ReadAheadTotal of all; 8 MiB and 64 MiB.
	ReadAhead, ReadAheadTotal int64
	// DecodedBytes bounds the records that are decoded ahead of sequential
	// readers; 32 MiB.
	DecodedBytes int64
	// Poll is how often tables in use are looked at for other processes'
	// commits; 5 s, negative for never.
	Poll time.Duration

	Reader archive.ReaderOptions
	Now    func() time.Time
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.MemoryBytes = cmp.Or(c.MemoryBytes, 64<<20)
	c.DiskBytes = cmp.Or(c.DiskBytes, 4<<30)
	c.FileBytes = cmp.Or(c.FileBytes, 8<<30)
	c.Requests = cmp.Or(c.Requests, 16)
	c.Reads = cmp.Or(c.Reads, runtime.GOMAXPROCS(0))
	c.ReadAhead = cmp.Or(c.ReadAhead, 8<<20)
	c.ReadAheadTotal = cmp.Or(c.ReadAheadTotal, 64<<20)
	c.DecodedBytes = cmp.Or(c.DecodedBytes, 32<<20)
	c.Poll = cmp.Or(c.Poll, 5*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) check() error {
	switch {
	case c.Dir == "":
		return fmt.Errorf("history: dir is empty")
	case c.MemoryBytes < 0, c.DiskBytes < 0, c.FileBytes < 0, c.Requests < 0, c.BytesPerSecond < 0,
		c.Reads < 0, c.ReadAhead < 0, c.ReadAheadTotal < 0, c.DecodedBytes < 0:
		return fmt.Errorf("history: a limit is negative")
	}
	return nil
}
