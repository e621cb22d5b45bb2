package history

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
	"varve/internal/remoting"
)

// TestReaderAheadOfThePoll asks a server of its own process for what another
// one has just committed.
func TestReaderAheadOfThePoll(t *testing.T) {
	bucket := mem.New()
	writer := openArchive(t, bucket)
	msgs := plain("t", 0, 90, time.Unix(1000, 0))
	store(t, writer, broker, msgs[:30], 30)
	var clock atomic.Int64
	clock.Store(time.Unix(1_000_000, 0).UnixNano())
	watched := objtest.NewFaulty(bucket)
	node := newNode(t, openArchive(t, watched), func(c *Config) { c.Now = func() time.Time { return time.Unix(0, clock.Load()) } })
	client := remoting.NewClient(serve(t, ServerConfig{Broker: broker}, node), remoting.ClientConfig{})
	defer client.Close()
	pull := func(at string) *remoting.Command {
		return call(t, client, remoting.PullMessage, "", "consumerGroup", "g", "topic", "t", "queueId", "0", "queueOffset", at,
			"maxMsgNums", "32", "sysFlag", "4", "commitOffset", "0", "suspendTimeoutMillis", "0", "subVersion", "0",
			"subscription", "*", "expressionType", "TAG")
	}
	expect(t, "known", pull("0"), 0, "30", "0", 30)
	store(t, writer, broker, msgs[30:60], 30)
	expect(t, "just committed", pull("30"), 0, "60", "0", 30)

	// Whoever waits at the end costs the bucket one look.
	clock.Add(int64(time.Minute))
	before := len(watched.Calls())
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { expect(t, "at the end", pull("60"), remoting.PullRetryImmediately, "60", "0", 0) })
	}
	wg.Wait()
	if n := len(watched.Calls()) - before; n == 0 || n > 5 {
		t.Errorf("%d calls of the bucket for 50 pulls at the end", n)
	}
	store(t, writer, broker, msgs[60:], 30)
	expect(t, "too soon", pull("60"), remoting.PullRetryImmediately, "60", "0", 0)
	clock.Add(int64(renewEvery))
	expect(t, "after a while", pull("60"), 0, "90", "0", 30)

	// A table that is new, and a reader beside the hot log.
	store(t, writer, broker, plain("later", 0, 5, time.Unix(1000, 0)), 5)
	expect(t, "new table", call(t, client, remoting.PullMessage, "", "consumerGroup", "g", "topic", "later", "queueId", "0",
		"queueOffset", "0", "maxMsgNums", "32", "sysFlag", "4", "commitOffset", "0", "suspendTimeoutMillis", "0", "subVersion", "0",
		"subscription", "*", "expressionType", "TAG"), 0, "5", "0", 5)
}
