package connector

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/mq"
	"varve/internal/objstore/mem"
)

func TestArchivesEveryMessageOnce(t *testing.T) {
	log, bucket, o := openLog(t, vfs.NewMem()), mem.New(), newOracle(1)
	defer log.Close()
	o.send(t, log, 500, 3, 4)
	c := start(t, log, bucket, nil)
	o.send(t, log, 3000, 3, 4)
	o.append(t, log, []*mq.Message{{Topic: mq.ScheduleTopic, Body: []byte("machinery")}})
	c.mustFlush(t)
	o.check(t, bucket, true)
	for q, sent := range o.sent {
		if got := log.Archived(q); !mq.SystemTopic(q.Topic) && got != int64(len(sent)) {
			t.Errorf("archived mark of %v is %d, want %d", q, got, len(sent))
		}
	}
	st := c.Status()
	if st.State != Running || st.LagMessages != 0 || st.Rows != 3500 || st.Error != "" {
		t.Errorf("status %+v", st)
	}
}
