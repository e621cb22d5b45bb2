package retention

import (
	"encoding/json"
	"math"
	"time"

	"varve/internal/mq"
)

// File is what a cut needs to know of one archive file.
type File struct {
	Name             string   `json:"name"`
	Offsets          mq.Range `json:"offsets"`
	FirstStoreMillis int64    `json:"first_store_millis"`
	LastStoreMillis  int64    `json:"last_store_millis"`
	Rows             int64    `json:"rows"`
	Bytes            int64    `json:"bytes"`
	// Row is where the file begins in an object that it shares with files of other
	// queues, and Sharing how many share it; 0 for an object of its own. Bytes are
	// then its share.
	Row     int64 `json:"row,omitempty"`
	Sharing int64 `json:"sharing,omitempty"`
}

// MarshalJSON writes the file with the API's names.
func (f File) MarshalJSON() ([]byte, error) {
	type plain File
	return json.Marshal(struct {
		plain
		Offsets apiRange `json:"offsets"`
	}{plain(f), apiRange(f.Offsets)})
}

// apiQueue and apiRange are a queue and a range with the API's names, which are
// all lower case. The records in the bucket have the names of the types
// themselves, and signatures over them.
type (
	apiQueue struct {
		Broker string `json:"broker"`
		Topic  string `json:"topic"`
		ID     int32  `json:"id"`
	}
	apiRange struct {
		From int64 `json:"from"`
		To   int64 `json:"to"`
	}
)

// Cause says which bound of a rule lets a file go.
type Cause string

// The causes.
const (
	ByAge      Cause = "age"
	ByBytes    Cause = "bytes"
	ByMessages Cause = "messages"
	ByQuota    Cause = "quota" // of its tenant
)

// Removal is one file that a rule lets go.
type Removal struct {
	File  File   `json:"file"`
	Rule  string `json:"rule"`
	Cause Cause  `json:"cause"`
}

// Cut gives the files of one queue that may go now. files are the queue's, in
// offset order; the answer is a prefix of them.
func (p Policy) Cut(q mq.Queue, files []File, now time.Time) []Removal {
	return cut(p.Match(q), files, now)
}

func cut(d Decision, files []File, now time.Time) []Removal {
	if d.Rule == "" {
		return nil
	}
	left, rows := totalBytes(files), int64(0)
	for _, f := range files {
		rows += f.Rows
	}
	var out []Removal
	for _, f := range files {
		cause := Cause("")
		left, rows = left-f.Bytes, rows-f.Rows
		switch {
		case d.Age > 0 && f.LastStoreMillis < now.Add(-time.Duration(d.Age)).UnixMilli():
			cause = ByAge
		case d.Bytes > 0 && left >= int64(d.Bytes):
			cause = ByBytes
		case d.Messages > 0 && rows >= d.Messages:
			cause = ByMessages
		default:
			return out
		}
		out = append(out, Removal{File: f, Rule: d.Rule, Cause: cause})
	}
	return out
}

func totalBytes(files []File) (n int64) {
	for _, f := range files {
		n += f.Bytes
	}
	return n
}

// Explanation tells what is decided about one queue and why.
type Explanation struct {
	Queue   mq.Queue `json:"queue"`
	Archive Decision `json:"archive"`
	Hot     Decision `json:"hot"`
	// Files and Bytes are the queue's before the cut.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Removals would go now.
	Removals []Removal `json:"removals,omitempty"`
	// Kept is the first file that would go but for a hold, a lease, or another
	// queue's part of its object.
	Kept *Kept `json:"kept,omitempty"`
	// Next is the first file that stays, and NextAt when its age lets it go;
	// zero where no bound by age applies.
	Next   *File     `json:"next,omitempty"`
	NextAt time.Time `json:"next_at,omitzero"`
	// Error is why nothing can be said of a topic; then Queue.Topic is all else
	// that is set.
	Error string `json:"error,omitempty"`
}

// MarshalJSON writes the explanation with the API's names.
func (e Explanation) MarshalJSON() ([]byte, error) {
	type plain Explanation
	return json.Marshal(struct {
		Queue apiQueue `json:"queue"`
		plain
	}{apiQueue(e.Queue), plain(e)})
}

// Explain tells of one queue of a plan: what would go now, by which rule, what
// is kept by whom, and what goes next.
func (p Policy) Explain(q QueuePlan) Explanation {
	e := Explanation{
		Queue: q.Queue, Archive: q.Archive, Hot: p.MatchHot(q.Queue.Topic),
		Files: len(q.Files), Bytes: totalBytes(q.Files), Removals: q.Removals, Kept: q.Kept,
	}
	if rest := q.Files[len(e.Removals):]; len(rest) > 0 && e.Archive.Age > 0 && e.Kept == nil {
		e.Next = &rest[0]
		e.NextAt = time.UnixMilli(rest[0].LastStoreMillis).Add(time.Duration(e.Archive.Age) + time.Millisecond)
	}
	return e
}

// Forever is a bound that no age reaches.
const Forever = time.Duration(math.MaxInt64)

// HotTrim is the hot log's part of a policy, in the terms of hot.TrimPolicy.
type HotTrim struct {
	// KeepFor is the shortest age that any rule names: nothing younger goes by
	// age. Forever where no rule bounds the log by age.
	KeepFor time.Duration
	// KeepBytes bounds the log; zero is no bound.
	KeepBytes int64
	// DropUnarchived lets messages go that are not archived yet.
	DropUnarchived bool
	// MinAge is how old a topic's messages must be to go: Forever for a topic
	// that no rule bounds.
	MinAge func(topic string) time.Duration
}

// HotTrim gives the hot log's part of the policy.
func (p Policy) HotTrim() HotTrim {
	t := HotTrim{KeepFor: Forever}
	for _, r := range p.Rules {
		if r.Hot == nil {
			continue
		}
		if r.Hot.Age > 0 {
			t.KeepFor = min(t.KeepFor, time.Duration(r.Hot.Age))
		}
		if r.matchesAll() {
			t.KeepBytes, t.DropUnarchived = int64(r.Hot.Bytes), r.Hot.DropUnarchived
		}
	}
	t.MinAge = func(topic string) time.Duration {
		if d := p.MatchHot(topic); d.Age > 0 {
			return time.Duration(d.Age)
		}
		return Forever
	}
	return t
}
