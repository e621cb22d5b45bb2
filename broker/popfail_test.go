package broker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
)

// sickReader fails while it is told to.
type sickReader struct {
	mq.Reader
	sick  atomic.Bool
	tries atomic.Int64
}

func (s *sickReader) Read(ctx context.Context, q mq.Queue, from int64, lim mq.Limit) (mq.Batch, error) {
	if s.sick.Load() {
		s.tries.Add(1)
		return mq.Batch{}, errors.New("no reading today")
	}
	return s.Reader.Read(ctx, q, from, lim)
}

// While messages can't be taken back, each window is tried once a second,
// however many deadlines it has, and the log gets a line now and then.
func TestTakingBackThatFailsIsTriedAndToldSparingly(t *testing.T) {
	const queues, each, span = 4, 40, 30 * time.Second
	var logged bytes.Buffer
	var reader sickReader
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, vfs.NewMem(), func(_ *Config, d *Deps) {
			d.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn}))
			reader.Reader = d.Log
			d.Reader = &reader
		})
		defer r.stop()
		r.topic("orders", queues)
		for q := range int32(queues) {
			r.sendN("orders", q, 0, each)
		}
		reader.sick.Store(true)
		req := popReq("orders")
		req.MaxMessages = 1
		for range queues * each {
			if p := r.pop(req); len(p.Messages) != 1 {
				t.Fatalf("popped %v", p.bodies())
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(req.Invisible + span)
		if n, most := reader.tries.Load(), int64(queues*(span/time.Second+15)); n == 0 || n > most {
			t.Errorf("tried %d times, want at most %d", n, most)
		}
		reader.sick.Store(false)
		time.Sleep(2 * time.Second)
		got := 0
		for req.MaxMessages = 0; ; {
			p := r.pop(req)
			if len(p.Messages) == 0 {
				break
			}
			got += len(p.Messages)
			r.ack(p.handles()...)
		}
		if got != queues*each {
			t.Errorf("%d messages come again, want %d", got, queues*each)
		}
	})
	if n := strings.Count(logged.String(), "can't be taken back"); n == 0 || n > 5 {
		t.Errorf("logged %d times:\n%s", n, &logged)
	}
}
