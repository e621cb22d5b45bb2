package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"varve/e2e/faulty"
	"varve/e2e/server"
)

const (
	fleetSize   = 3
	fleetQueues = 2
	fleetTime   = 4 * time.Second // of each fault
	fleetBurst  = 24
)

var fleetTopics = []string{"fleet_orders", "fleet_events"}

// fleet are brokers that archive into the same tables.
type fleet struct {
	cfg   config
	proxy *faulty.Proxy
	ev    *evidence
	live  [fleetSize]*server.Server
}

func fleetName(i int) string { return "varve-" + string(rune('a'+i)) }

func (f *fleet) options(i int) server.Options {
	port := func(p int) string { return "127.0.0.1:" + strconv.Itoa(20000+1000*i+p) }
	return server.Options{
		Dir:     filepath.Join(f.cfg.work, "fleet", fleetName(i)),
		Addrs:   server.Addrs{Route: port(76), Broker: port(11), GRPC: port(81), History: port(15), HTTP: port(82)},
		RollAge: 300 * time.Millisecond,
		S3:      &server.S3{Endpoint: f.proxy.Addr(), Bucket: f.ev.bucket, AccessKey: server.MinioKey, SecretKey: server.MinioSecret},
		Env: []string{
			"VARVE_BROKER_NAME=" + fleetName(i), "VARVE_HOT_SEGMENT=8MiB", "VARVE_CONNECTOR_ROLL_AGE_MAX=500ms", "VARVE_COMPACTION_SETTLE=0s",
			"VARVE_COMPACTION_INTERVAL=1s", "VARVE_RETENTION_SWEEP=1s", "VARVE_RETENTION_INTERVAL=1s", "VARVE_RETENTION_GRACE=1s", "VARVE_BACKUP_EVERY=2s",
			"VARVE_HOT_MIN_FREE=64MiB",
		},
	}
}

func (f *fleet) start(ctx context.Context, i int) (err error) {
	f.live[i], err = server.Varve{Binary: f.cfg.binary}.Start(ctx, f.options(i))
	return err
}

// load sends to a broker until ctx ends or the broker does.
func (f *fleet) load(ctx context.Context, i int) error {
	for ctx.Err() == nil {
		_, err := f.ev.send(ctx, f.live[i].Addrs.Broker, fleetName(i), fleetTopics, fleetQueues, fleetBurst)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// phase lets the brokers archive under a fault; one of them is killed in the middle of it and started again when the fault is over.
func (f *fleet) phase(ctx context.Context, fault faulty.Fault, share float64, victim int) error {
	f.proxy.Set(fault, share)
	during, enough := context.WithTimeout(ctx, fleetTime)
	defer enough()
	var wg sync.WaitGroup
	errs := make([]error, fleetSize)
	for i := range f.live {
		wg.Go(func() {
			if err := f.load(during, i); err != nil && i != victim {
				errs[i] = fmt.Errorf("%s: %w", fleetName(i), err)
			}
		})
	}
	select {
	case <-time.After(fleetTime / 2):
	case <-ctx.Done():
	}
	err := f.live[victim].Kill()
	wg.Wait()
	if err = errors.Join(append(errs, err)...); err != nil {
		return err
	}
	faulted, _ := f.proxy.Counts()
	if faulted == 0 && fault != faulty.Healthy {
		return errors.New("no request met the fault: the check is empty")
	}
	f.proxy.Set(faulty.Healthy, 0)
	return f.start(ctx, victim)
}

// state keeps the bucket as it is while everybody stands still.
func (f *fleet) state(ctx context.Context, name string) error {
	for _, s := range f.live {
		if err := s.Pause(); err != nil {
			return err
		}
	}
	f.proxy.Quiet()
	err := f.ev.state(ctx, bucketState{Name: name})
	for _, s := range f.live {
		err = errors.Join(err, s.Resume())
	}
	return err
}

// runFleet has several brokers, each a process with a connector of its own, archive into the same tables.
func runFleet(ctx context.Context, c config, proxy *faulty.Proxy, ev *evidence) (note string, err error) {
	f := &fleet{cfg: c, proxy: proxy, ev: ev}
	defer func() {
		for _, s := range f.live {
			if s != nil {
				err = errors.Join(err, s.Stop())
			}
		}
	}()
	for i := range f.live {
		if err := f.start(ctx, i); err != nil {
			return "", err
		}
	}
	phases := []struct {
		name  string
		fault faulty.Fault
		share float64
	}{
		{"healthy", faulty.Healthy, 0},
		{"503", faulty.Refuse, 0.3},
		{"cut after", faulty.CutAfter, 0.3},
		{"writes done twice", faulty.Twice, 0.5},
		{"writes done late", faulty.Late, 0.3},
		{"stale listings", faulty.Stale, 1},
	}
	for n, ph := range phases {
		if err := f.phase(ctx, ph.fault, ph.share, n%fleetSize); err != nil {
			return "", fmt.Errorf("%s: %w", ph.name, err)
		}
		if err := f.state(ctx, ph.name); err != nil {
			return "", err
		}
	}
	for i, s := range f.live {
		before := ev.acks()
		if err := s.ArchiveAll(ctx); err != nil {
			return "", err
		}
		ev.flushed(fleetName(i), before)
	}
	if err := f.state(ctx, "the end"); err != nil {
		return "", err
	}
	said, err := ev.check(ctx, c, "fleet")
	return fmt.Sprintf("%d faults, a broker killed in each; %s", len(phases)-1, said), err
}
