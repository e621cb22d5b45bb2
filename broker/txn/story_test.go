package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/hot"
	"varve/internal/mq"
)

// TestStories runs the scripts of testdata: transactions over a disk in memory
// whose power is cut where the script says so, in time that only sleeps let
// pass. The first question comes after 1 s, the second 2 s later, and then the
// half is given up; without a producer it is after 20 s.
//
//	half as=NAME                          is kept in the log's memory until flush
//	end of=NAME as=commit|rollback        commits or rolls back
//	restore of=NAME
//	flush                                 the log syncs all it has
//	trim                                  the log drops what nobody holds
//	crash [kept=PERCENT]                  power cut and start: of what wasn't synced so much is on the disk
//	restart                               orderly
//	sleep for=1s
//	clock ahead=1h                        of time, from now on
//	producer [gone]                       whether the group has one that can be asked
//	asked                                 what it was asked since
//	halves · given-up · queue             in doubt; given up; the real queue
//	stored                                what the meta store has, and up to where
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		synctest.Test(t, func(t *testing.T) {
			s := &story{world: &world{t: t, rng: rand.New(rand.NewPCG(1, 1)), fs: vfs.NewCrashableMem()}, halves: map[string]hot.Placed{}, names: map[int64]string{}}
			s.world.ask = s.ask
			s.open()
			defer func() { s.end() }()
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				out, err := s.run(t, d)
				if err != nil {
					return "error: " + err.Error() + "\n"
				}
				return out
			})
		})
	})
}

type story struct {
	*world
	halves map[string]hot.Placed
	names  map[int64]string // by physical offset
	gone   atomic.Bool      // no producer can be asked

	mu   sync.Mutex
	told []string // questions
}

func (s *story) ask(_ context.Context, _ string, load func() (*Half, error)) (bool, error) {
	if s.gone.Load() {
		return false, nil
	}
	h, err := load()
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, fmt.Sprintf("%s, time %d\n", h.Record.Body(), h.Checks))
	return true, nil
}

func (s *story) run(t *testing.T, d *datadriven.TestData) (string, error) {
	var of, as string
	d.MaybeScanArgs(t, "of", &of)
	d.MaybeScanArgs(t, "as", &as)
	ctx, h := context.Background(), s.halves[of]
	defer synctest.Wait()
	switch d.Cmd {
	case "half":
		return s.half(as)
	case "end":
		e := End{Group: "producers", Offset: h.QueueOffset, Physical: h.PhysicalOffset, Verdict: Commit}
		if as == "rollback" {
			e.Verdict = Rollback
		}
		done := make(chan error, 1)
		s.txns.End(e, s.log.Submit, func(err error) { done <- err })
		return "", <-done
	case "restore":
		return "", s.txns.Restore(ctx, h.PhysicalOffset)
	case "flush":
		return "", s.log.Flush(ctx)
	case "trim":
		before := s.log.Stats().FirstPhysical
		s.trim()
		return fmt.Sprintf("dropped: %t\n", s.log.Stats().FirstPhysical > before), nil
	case "crash":
		percent := 0
		d.MaybeScanArgs(t, "kept", &percent)
		s.power(percent)
		s.open()
	case "restart":
		s.end()
		s.open()
	case "sleep":
		var text string
		d.ScanArgs(t, "for", &text)
		span, err := time.ParseDuration(text)
		time.Sleep(span)
		return "", err
	case "clock":
		var text string
		d.ScanArgs(t, "ahead", &text)
		span, err := time.ParseDuration(text)
		s.ahead.Store(int64(span))
		return "", err
	case "producer":
		s.gone.Store(d.HasArg("gone"))
	case "asked":
		s.mu.Lock()
		defer s.mu.Unlock()
		out := slices.Sorted(slices.Values(s.told))
		s.told = nil
		return strings.Join(out, ""), nil
	case "halves", "given-up":
		return s.list(d.Cmd == "given-up")
	case "queue":
		return s.queue()
	case "stored":
		return s.stored()
	default:
		return "", fmt.Errorf("unknown command %q", d.Cmd)
	}
	return "", nil
}

func (s *story) half(name string) (string, error) {
	m := mq.Message{Topic: orders.Topic, Body: []byte(name), Properties: mq.AppendProperty(nil, mq.PropTransaction, "true")}
	s.txns.Prepare(&m, "producers", name)
	placed, err := s.log.Append(context.Background(), []*mq.Message{&m})
	if err != nil {
		return "", err
	}
	s.halves[name], s.names[placed[0].PhysicalOffset] = placed[0], name
	return fmt.Sprintf("half at %d\n", placed[0].QueueOffset), nil
}

func (s *story) list(givenUp bool) (string, error) {
	synctest.Wait()
	list, err := s.txns.List(Query{GivenUp: givenUp, Max: 100})
	var out strings.Builder
	for _, h := range list {
		fmt.Fprintf(&out, "%s", h.Record.Body())
		if !givenUp {
			fmt.Fprintf(&out, ", asked %d times", h.Checks)
		}
		out.WriteByte('\n')
	}
	return out.String(), err
}

func (s *story) queue() (string, error) {
	ctx := context.Background()
	var out strings.Builder
	r, err := s.log.Range(ctx, orders)
	if errors.Is(err, mq.ErrNoQueue) {
		return "", nil
	}
	for at := r.From; at < r.To && err == nil; {
		var b mq.Batch
		if b, err = s.log.Read(ctx, orders, at, mq.Limit{}); err != nil {
			break
		}
		for rec := range mq.Records(b.Body) {
			fmt.Fprintf(&out, "%d: %s\n", rec.QueueOffset(), rec.Body())
		}
		at = b.Next
	}
	return out.String(), err
}

// stored is what a start would find in the meta store.
func (s *story) stored() (string, error) {
	synctest.Wait()
	var pos position
	if _, err := s.txns.state.Get(positionKey, &pos); err != nil {
		return "", err
	}
	out := []string{fmt.Sprintf("halves below %d, ends below %d\n", pos.Half, pos.End)}
	for _, table := range []struct {
		what string
		scan func(string, func(string, []byte) error) error
	}{{"in doubt", s.txns.open.Scan}, {"questions about", s.txns.asking.Scan}, {"given up", s.txns.givenUp.Scan}} {
		var names []string
		err := table.scan("", func(k string, _ []byte) error {
			physical, err := physicalOf(k)
			names = append(names, cmp.Or(s.names[physical], k))
			return err
		})
		if err != nil {
			return "", err
		}
		slices.Sort(names)
		if len(names) > 0 {
			out = append(out, fmt.Sprintf("%s %s\n", table.what, strings.Join(names, ", ")))
		}
	}
	return strings.Join(out, ""), nil
}
