package connector

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

// requestsPerGiB is what docs/bench promises of busy queues: what the archive
// asks of its store for one GiB of records, in files of the default size.
const requestsPerGiB = 320

// TestRequestsPerGiB archives a GiB on a scale of 1 to 1024: queues whose files
// are rolled by their size. The store is asked as often as on the full scale,
// for a file and a commit cost the same whatever they hold.
func TestRequestsPerGiB(t *testing.T) {
	const scale = 1024
	full := Config{}.withDefaults()
	bucket := objtest.NewFaulty(mem.New())
	log := openLog(t, vfs.NewMem())
	defer log.Close()
	c := start(t, log, bucket, func(cfg *Config) {
		cfg.FileBytes, cfg.SmallBytes = full.FileBytes/scale, full.SmallBytes/scale
		cfg.RollAge, cfg.RollAgeMax = time.Hour, time.Hour
	})
	var sent int64
	send := func(limit int64) {
		for n := 0; sent < limit; n++ {
			var msgs []*mq.Message
			for range 16 {
				m := &mq.Message{Topic: "busy", QueueID: int32(n % 2), Body: fmt.Appendf(nil, "%0800d", n)}
				sent += int64(mq.RecordLen(m))
				msgs = append(msgs, m)
			}
			if _, err := log.Append(t.Context(), msgs); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(1000)
	c.mustFlush(t) // the table is there
	bucket.Calls()
	sent = 0
	send(1 << 30 / scale)
	c.mustFlush(t)
	calls := len(bucket.Calls())
	st := c.Status()
	t.Logf("%d requests for %d bytes in %d files", calls, sent, st.Files)
	if per := calls * (1 << 30 / scale) / int(sent); per > requestsPerGiB {
		t.Errorf("%d requests for a GiB, want at most %d", per, requestsPerGiB)
	}
	if st.Files < 16 {
		t.Errorf("%d files of %d bytes: the scale is not what it says", st.Files, sent)
	}
}
