package history

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"varve/internal/objstore/mem"
	"varve/internal/remoting"
)

// allowance is a quota of so many messages.
type allowance struct{ left, bytes, refused atomic.Int64 }

func (a *allowance) MayRead(topic string) error {
	if a.left.Load() <= 0 {
		a.refused.Add(1)
		return errors.New("over the quota of " + topic)
	}
	return nil
}

func (a *allowance) NoteRead(_ string, messages int, bytes int64) {
	a.left.Add(-int64(messages))
	a.bytes.Add(bytes)
}

// Who reads the archive by the client's own routing is held to the tenant's
// quota as at the broker; a history client's reads are counted where they go.
func TestColdPullsCountForTheQuota(t *testing.T) {
	a := openArchive(t, mem.New())
	store(t, a, broker, plain("t", 0, 100, time.Unix(1000, 0)), 30)
	quota := &allowance{}
	quota.left.Store(64)
	c := remoting.NewClient(serve(t, ServerConfig{Broker: broker, Quotas: quota}, newNode(t, a, nil)), remoting.ClientConfig{})
	defer c.Close()
	pull := func(at string, more ...string) *remoting.Command {
		return call(t, c, remoting.PullMessage, "", append([]string{
			"consumerGroup", "g", "topic", "t", "queueId", "0", "queueOffset", at, "maxMsgNums", "32",
			"sysFlag", "6", "subscription", "*", "expressionType", "TAG",
		}, more...)...)
	}
	expect(t, "within", pull("0"), 0, "32", "1000", 32)
	expect(t, "to its end", pull("32"), 0, "64", "1000", 32)
	if quota.left.Load() != 0 || quota.bytes.Load() == 0 {
		t.Errorf("%d messages are left, %d bytes are counted", quota.left.Load(), quota.bytes.Load())
	}
	if r := pull("64"); r.Code != remoting.FlowControl {
		t.Errorf("over it: code %d %s, want %d", r.Code, r.Remark, remoting.FlowControl)
	}
	if n := quota.refused.Load(); n != 1 {
		t.Errorf("one refusal is counted %d times", n)
	}
	if r := pull("64", tierField, "1"); r.Code != remoting.Success {
		t.Errorf("a history client's: code %d %s", r.Code, r.Remark)
	}
	quota.left.Store(1)
	expect(t, "within again", pull("64"), 0, "96", "1000", 32)
}
