package archive

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"varve/internal/mq"
	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

// TestManyBrokersCommitToOneTable has processes of several broker groups commit
// to one topic at once, each over a bucket with faults of its own. Whoever is
// told of a failure repeats the commit, as a connector does. Every file is
// there once.
func TestManyBrokersCommitToOneTable(t *testing.T) {
	const brokers, commits, rows = 4, 10, 10
	inner := mem.New()
	createTable(t, openArchive(t, inner, Options{}), "orders")
	var wg sync.WaitGroup
	for n := range brokers {
		wg.Go(func() {
			q := mq.Queue{Broker: fmt.Sprint("broker-", n), Topic: "orders"}
			rng := rand.New(rand.NewPCG(uint64(n), 11))
			b := objtest.NewFaulty(inner)
			tbl := createTable(t, openArchive(t, b, Options{}), "orders")
			for i := range int64(commits) {
				f := fake(t, tbl, q, mq.Range{From: i * rows, To: (i + 1) * rows}, 1)
				b.Add(objtest.Fault{How: objtest.How(rng.IntN(int(objtest.Lie))), Skip: rng.IntN(12), Times: 1})
				c := commitOf(fmt.Sprint(q.Broker, "-", i), 1, f)
				c.Broker = q.Broker
				_, err := tbl.Append(context.Background(), c)
				for try := 0; err != nil && try < 20; try++ {
					_, err = tbl.Append(context.Background(), c)
				}
				if err != nil {
					t.Errorf("%s, commit %d: %v", q.Broker, i, err)
					return
				}
				b.Clear()
				if i == commits/2 { // another process of this broker group goes on
					b = objtest.NewFaulty(inner)
					tbl = createTable(t, openArchive(t, b, Options{}), "orders")
				}
			}
		})
	}
	wg.Wait()
	for n := range brokers {
		checkExactlyOnce(t, inner, mq.Queue{Broker: fmt.Sprint("broker-", n), Topic: "orders"}, commits*rows)
	}
}

// distant is a bucket whose every call takes a while.
type distant struct {
	objstore.Bucket
	delay time.Duration
}

func (d distant) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	time.Sleep(d.delay)
	return d.Bucket.Get(ctx, name)
}

func (d distant) Put(ctx context.Context, name string, r io.Reader, size int64, c objstore.Cond) error {
	time.Sleep(d.delay)
	return d.Bucket.Put(ctx, name, r, size, c)
}

func (d distant) Head(ctx context.Context, name string) (objstore.Object, error) {
	time.Sleep(d.delay)
	return d.Bucket.Head(ctx, name)
}

// TestAQuietBrokerIsNotStarved has broker groups that commit without a pause
// beside one that commits now and then, from farther away: it gets its turn
// after a bounded number of theirs.
func TestAQuietBrokerIsNotStarved(t *testing.T) {
	synctest.Test(t, quietBesideBusy)
}

func quietBesideBusy(t *testing.T) {
	const busy, commits, most = 3, 3, 60
	inner := mem.New()
	createTable(t, openArchive(t, inner, Options{}), "orders")
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var theirs atomic.Int64
	for n := range busy {
		wg.Go(func() {
			q := mq.Queue{Broker: fmt.Sprint("busy-", n), Topic: "orders"}
			tbl := createTable(t, openArchive(t, distant{inner, time.Millisecond}, Options{}), "orders")
			for i := int64(0); ctx.Err() == nil; i++ {
				c := commitOf(fmt.Sprint(q.Broker, "-", i), 1, fake(t, tbl, q, mq.Range{From: i, To: i + 1}, 1))
				c.Broker = q.Broker
				if _, err := tbl.Append(context.Background(), c); err != nil {
					t.Errorf("%s: %v", q.Broker, err)
					return
				}
				theirs.Add(1)
			}
		})
	}
	q := mq.Queue{Broker: "quiet", Topic: "orders"}
	tbl := createTable(t, openArchive(t, distant{inner, 3 * time.Millisecond}, Options{}), "orders")
	for i := range int64(commits) {
		before, began := theirs.Load(), time.Now()
		c := commitOf(fmt.Sprint("quiet-", i), 1, fake(t, tbl, q, mq.Range{From: i, To: i + 1}, 1))
		c.Broker = q.Broker
		if _, err := tbl.Append(context.Background(), c); err != nil {
			t.Errorf("the quiet one lost: %v", err)
			break
		}
		got := theirs.Load() - before
		t.Logf("commit %d waited for %d of the others', %v", i, got, time.Since(began).Round(time.Millisecond))
		if got > most {
			t.Errorf("commit %d of the quiet one waited for %d of the busy ones'", i, got)
		}
	}
	stop()
	wg.Wait()
	if got := theirs.Load(); got < commits {
		t.Errorf("the busy ones made %d commits", got)
	}
}
