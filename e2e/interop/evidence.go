package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"

	"varve/e2e/corpus"
	"varve/e2e/wire"
)

// evidence is what a program that knows nothing of Varve needs to judge a bucket at several times: what was sent, what was
// acked where, and the bucket's objects as they were each time. readers/check_states.py reads it.
type evidence struct {
	Base   string        `json:"base"` // of the objects' names in the tables' metadata
	Sent   []sent        `json:"sent"`
	Acked  []ack         `json:"acked"`
	States []bucketState `json:"states"`

	dir    string
	bucket string
	client *minio.Client
	corpus *corpus.Corpus
	serial atomic.Int64
	mu     sync.Mutex
	kept   map[string]bool // objects that were fetched, by the name they have in the store
	need   ends
}

// sent is a message that a broker may have taken.
type sent struct {
	Serial int64  `json:"serial"`
	Topic  string `json:"topic"`
	Queue  int    `json:"queue"`
	SHA256 string `json:"sha256"` // of the body
}

// ack says where a message is.
type ack struct {
	Serial int64  `json:"serial"`
	Topic  string `json:"topic"`
	Broker string `json:"broker"`
	Queue  int    `json:"queue"`
	Offset int64  `json:"offset"`
}

// ends are offsets by topic, broker and queue.
type ends map[string]map[string]map[string]int64

func (e ends) raise(topic, broker, queue string, to int64) {
	if e[topic] == nil {
		e[topic] = map[string]map[string]int64{}
	}
	if e[topic][broker] == nil {
		e[topic][broker] = map[string]int64{}
	}
	e[topic][broker][queue] = max(e[topic][broker][queue], to)
}

// bucketState is the bucket at one time.
type bucketState struct {
	Name   string           `json:"name"`
	Dir    string           `json:"dir"`
	Need   ends             `json:"need"`   // what must be archived: what a flush that was answered covered
	Hot    map[string][]hot `json:"hot"`    // by topic; what the broker says of its border, where it was asked
	Erased []int64          `json:"erased"` // serials that must be erased
	May    []int64          `json:"may"`    // that may be: their erasure was under way
	Typed  []string         `json:"typed"`  // topics of which every row must have its columns
}

// hot is a queue's border as the broker gives it.
type hot struct {
	Broker   string `json:"broker"`
	ID       int    `json:"id"`
	Min      int64  `json:"min"`
	HotStart int64  `json:"hot_start"`
	Archived int64  `json:"archived"`
	Max      int64  `json:"max"`
}

func newEvidence(dir, bucket string) (*evidence, error) {
	client, err := minioClient()
	if err != nil {
		return nil, err
	}
	return &evidence{Base: "s3://" + bucket, bucket: bucket, dir: dir, client: client, corpus: corpus.New(1024, 77), kept: map[string]bool{}, need: ends{}},
		os.MkdirAll(filepath.Join(dir, "store"), 0o755)
}

// send sends n messages to the topics' queues in turn and notes what came of each. An error that the broker's end is no
// surprise to is the caller's to judge.
func (e *evidence) send(ctx context.Context, addr, broker string, topics []string, queues int, n int64) (int64, error) {
	l := wire.Load{
		Addr: addr, Broker: broker, Corpus: e.corpus, Connections: 1, Window: 8, Messages: n, Serial: &e.serial,
		Place: func(serial int64) (string, int) {
			topic, queue := topics[serial%int64(len(topics))], int(serial/int64(len(topics)))%queues
			sum := sha256.Sum256(e.corpus.Append(nil, serial))
			e.mu.Lock()
			defer e.mu.Unlock()
			e.Sent = append(e.Sent, sent{serial, topic, queue, hex.EncodeToString(sum[:])})
			return topic, queue
		},
		Placed: func(serial int64, queue int, offset int64) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.Acked = append(e.Acked, ack{serial, topics[serial%int64(len(topics))], broker, queue, offset})
		},
	}
	s, err := l.Run(ctx)
	if err == nil && s.Refused > 0 {
		err = fmt.Errorf("%d sends refused: %s", s.Refused, s.Refusal)
	}
	if s == nil {
		return 0, err
	}
	return s.Messages, err
}

// flushed notes that all that was acked by a broker before a flush is archived now; before is len of Acked then.
func (e *evidence) flushed(broker string, before int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range e.Acked[:before] {
		if a.Broker == broker {
			e.need.raise(a.Topic, a.Broker, strconv.Itoa(a.Queue), a.Offset+1)
		}
	}
}

func (e *evidence) acks() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.Acked)
}

// state keeps the bucket as it is. Nobody may write to it meanwhile.
func (e *evidence) state(ctx context.Context, s bucketState) error {
	s.Dir = filepath.Join(e.dir, "states", fmt.Sprintf("%03d", len(e.States)))
	for o := range e.client.ListObjectsIter(ctx, e.bucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			return fmt.Errorf("listing the bucket: %w", o.Err)
		}
		sum := sha256.Sum256([]byte(o.Key + "\n" + o.ETag))
		store := filepath.Join(e.dir, "store", hex.EncodeToString(sum[:]))
		if !e.kept[store] {
			if err := e.client.FGetObject(ctx, e.bucket, o.Key, store, minio.GetObjectOptions{}); err != nil {
				return fmt.Errorf("fetching %s: %w", o.Key, err)
			}
			e.kept[store] = true
		}
		name := filepath.Join(s.Dir, e.bucket, filepath.FromSlash(o.Key))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Link(store, name)); err != nil {
			return fmt.Errorf("keeping %s: %w", o.Key, err)
		}
	}
	e.keep(s)
	return nil
}

// keep notes a state, with what is demanded of it by now.
func (e *evidence) keep(s bucketState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Need = ends{}
	for topic, brokers := range e.need {
		for broker, queues := range brokers {
			for q, to := range queues {
				s.Need.raise(topic, broker, q, to)
			}
		}
	}
	s.Erased, s.May = slices.Clone(s.Erased), slices.Clone(s.May)
	e.States = append(e.States, s)
}

// check has the independent readers judge all states, and forgets them where all is well.
func (e *evidence) check(ctx context.Context, c config, name string) (string, error) {
	e.mu.Lock()
	slices.SortFunc(e.Sent, func(a, b sent) int { return int(a.Serial - b.Serial) })
	data, err := json.Marshal(e)
	e.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("writing the evidence: %w", err)
	}
	file := filepath.Join(e.dir, "evidence.json")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return "", fmt.Errorf("writing the evidence: %w", err)
	}
	began := time.Now()
	out, err := c.python(ctx, name+".log", "check_states.py", file)
	if err != nil {
		return "", err
	}
	fmt.Printf("      %s: the readers took %.1fs\n", name, time.Since(began).Seconds())
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], os.RemoveAll(filepath.Join(e.dir, "states"))
}
