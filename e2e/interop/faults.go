package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/minio/minio-go/v7"

	"varve/e2e/faulty"
	"varve/e2e/server"
)

// runFaults has independent readers judge what kills and a bad bucket leave.
func runFaults(ctx context.Context, c config, p *page) (err error) {
	m, err := server.StartMinio(ctx, filepath.Join(c.cache, "minio"), filepath.Join(c.work, "faults-minio"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Stop()) }()
	proxy, err := faulty.Start(proxyAddr, server.MinioAddr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, proxy.Close()) }()
	for _, t := range []struct {
		name, bucket string
		run          func(context.Context, config, *faulty.Proxy, *evidence) (string, error)
	}{
		{"kill -9 at every change of the bucket", "varve-kills", runKills},
		{"kill -9 at any time, archive in a directory", "varve-directory", runDirectory},
		{"a restore killed at every step", "varve-restores", runRestores},
		{"engines in a loop beside commits, compaction and retention", "varve-live", readLive},
		{"three brokers, one table, a bad bucket, kill -9", "varve-fleet", runFleet},
	} {
		if len(c.scenarios) > 0 && !slices.Contains(c.scenarios, t.bucket) {
			continue
		}
		_ = p.try(t.name, faultsColumn, func() (string, error) {
			if err := makeBucket(ctx, t.bucket, minio.MakeBucketOptions{}); err != nil {
				return "", err
			}
			ev, err := newEvidence(filepath.Join(c.work, t.bucket), t.bucket)
			if err != nil {
				return "", err
			}
			proxy.Set(faulty.Healthy, 0)
			return t.run(ctx, c, proxy, ev)
		})
	}
	return nil
}
