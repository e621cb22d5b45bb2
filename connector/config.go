package connector

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"varve/internal/archive"
	"varve/internal/typed"
)

// Limits that are not for the user to set.
const (
	// tailBytes is what one look at the log takes.
	tailBytes = 1 << 20
	// tick is how often ages are looked at.
	tick = 100 * time.Millisecond
	// commitDelay is how long an uploaded file waits for others of its topic
	// that are being written.
	commitDelay = time.Second
	// publishEvery is how often the status follows when nothing is committed.
	publishEvery = 500 * time.Millisecond
	// lowWaterEvery is how often the hot log hears of the low-water mark while
	// nothing is committed.
	lowWaterEvery = time.Second
	// commitsAtOnce bounds the topics that commit at a time.
	commitsAtOnce = 4
	// commitFiles bounds the files of one commit.
	commitFiles = 1000
	// resumeAtOnce bounds the tables read at a time when a session begins.
	resumeAtOnce = 16
	// minBlock and maxBlock are the sizes of the pieces that staged records
	// are kept in: a trickling queue takes little, a busy one few pieces.
	minBlock = 2 << 10
	maxBlock = 1 << 20
	// maxSpare is how many whole blocks are kept to be used again.
	maxSpare = 64
	// maxWaiting bounds the rolled segments that wait for an encoder before
	// the log is read on.
	maxWaiting = 4096
	// outputShare is the part of MemoryBytes that written files may take in
	// memory until they are uploaded; beyond it they go to disk. It comes on top
	// of the staged records.
	outputShare = 4
	// outputChunk is a piece of such a file, firstChunk what its first begins as.
	outputChunk = 1 << 20
	firstChunk  = 16 << 10
	// uploadQueue is how many files for each upload may wait.
	uploadQueue = 2
	// commitCalls and resumeCalls are how many calls' time a commit and the
	// reading of all tables may take; encodeTimeout bounds one file's encoding.
	commitCalls   = 5
	resumeCalls   = 30
	encodeTimeout = 30 * time.Minute
	// slowestUpload is the rate in bytes a second below which an upload counts
	// as stuck.
	slowestUpload = 128 << 10
	// checkedTail is how much of an uploaded file's end is read back: the footer,
	// and in most files the page indexes.
	checkedTail = 64 << 10
	// rereadBytes is what a job takes of the hot log at a time.
	rereadBytes = 4 << 20
)

// Config sets up a Connector. Zero fields take the defaults.
type Config struct {
	Broker string // broker group, as the log was opened with
	Dir    string // for temporary files; emptied at the start

	// FileBytes is the length of stored records at which a segment is rolled
	// at once; 64 MiB.
	FileBytes int64
	// RollAge is how long a segment of at least SmallBytes waits for more;
	// 10 s. A smaller one waits longer, in inverse proportion to its length,
	// up to RollAgeMax; 5 min. So a queue of 1 MiB/s makes a file every 10 s,
	// one of 50 KiB/s every 30 s, one of 1 KiB/s every 5 min.
	RollAge, RollAgeMax time.Duration
	SmallBytes          int64 // 4 MiB
	// FilesPerSecond is the rate that rolling by age keeps to on the average:
	// with 10,000 trickling queues each waits 10,000 / FilesPerSecond seconds;
	// 16.
	FilesPerSecond int
	// MemoryBytes bounds staged records; 128 MiB. Files that wait for their
	// upload take up to a quarter of it more.
	MemoryBytes int64
	Encoders    int // files encoded at a time; half the processors, at least 1
	Uploads     int // files uploaded at a time; 4
	// RetryMin and RetryMax bound the pause after a failure, doubled each
	// time; 250 ms and 30 s.
	RetryMin, RetryMax time.Duration

	// CallTimeout is how long the bucket may take to answer a call, an upload's
	// bytes not counted; 1 min.
	CallTimeout time.Duration

	// Claim says whether the archive still belongs to this log's data directory,
	// archive.ErrFenced where not. It is asked before a session and around the
	// fencing of each table. Nil is always.
	Claim func(ctx context.Context) error
	// OnCommit hears of every commit before the archived marks move. It must
	// return soon.
	OnCommit func(topic string, s archive.Snapshot)
	// Schemas knows which columns are made of a topic's bodies; nil for none.
	Schemas Schemas
	Now     func() time.Time
	Logger  *slog.Logger
}

// Schemas gives the columns that a topic's schema declares, nil for none. It may
// be asked concurrently.
type Schemas interface {
	Layout(topic string) *typed.Layout
}

func (c Config) withDefaults() Config {
	c.FileBytes = cmp.Or(c.FileBytes, 64<<20)
	c.RollAge = cmp.Or(c.RollAge, 10*time.Second)
	c.RollAgeMax = cmp.Or(c.RollAgeMax, 5*time.Minute)
	c.SmallBytes = cmp.Or(c.SmallBytes, min(4<<20, c.FileBytes))
	c.FilesPerSecond = cmp.Or(c.FilesPerSecond, 16)
	c.MemoryBytes = cmp.Or(c.MemoryBytes, 128<<20)
	c.Encoders = cmp.Or(c.Encoders, max(1, runtime.GOMAXPROCS(0)/2))
	c.Uploads = cmp.Or(c.Uploads, 4)
	c.RetryMin = cmp.Or(c.RetryMin, 250*time.Millisecond)
	c.RetryMax = cmp.Or(c.RetryMax, 30*time.Second)
	c.CallTimeout = cmp.Or(c.CallTimeout, time.Minute)
	if c.Claim == nil {
		c.Claim = func(context.Context) error { return nil }
	}
	if c.OnCommit == nil {
		c.OnCommit = func(string, archive.Snapshot) {}
	}
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
	case c.Broker == "":
		return fmt.Errorf("connector: broker is empty")
	case c.Dir == "":
		return fmt.Errorf("connector: dir is empty")
	case c.FileBytes < 0, c.SmallBytes < 0, c.MemoryBytes < 0, c.RollAge < 0, c.FilesPerSecond < 0, c.Encoders < 0, c.Uploads < 0:
		return fmt.Errorf("connector: a limit is negative")
	case c.RollAgeMax < c.RollAge:
		return fmt.Errorf("connector: the longest roll age %v is below the roll age %v", c.RollAgeMax, c.RollAge)
	}
	return nil
}
