package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"varve/e2e/server"
)

const (
	lockBucket   = "varve-interop-lock"
	lockMessages = 20_000
	lockedWithin = 30 * time.Second
)

func minioClient() (*minio.Client, error) {
	m, err := minio.New(server.MinioAddr, &minio.Options{Creds: credentials.NewStaticV4(server.MinioKey, server.MinioSecret, "")})
	if err != nil {
		return nil, fmt.Errorf("making an S3 client: %w", err)
	}
	return m, nil
}

// legalHolds: what a hold covers is locked in a bucket that has S3 Object Lock, and in another it is said that it isn't.
// b.varve is of the bucket without.
func (b *bucketRun) legalHolds(ctx context.Context) {
	_ = b.page.try("legal hold, bucket without object lock", bucketColumn, func() (string, error) {
		out, err := b.varve.CLI(ctx, "hold", "set", "case-0", "--why", "interop")
		if err != nil {
			return "", err
		}
		if !strings.Contains(string(out), "the bucket has no object lock") {
			return "", fmt.Errorf("it isn't said that the bucket locks nothing: %s", out)
		}
		_, err = b.varve.CLI(ctx, "hold", "release", "case-0", "--why", "interop")
		return "said so, and holds", err
	})
	_ = b.page.try("legal hold, bucket with object lock", bucketColumn, func() (string, error) { return b.locked(ctx) })
}

func (b *bucketRun) locked(ctx context.Context) (note string, err error) {
	m, err := minioClient()
	if err != nil {
		return "", err
	}
	if err := b.varve.Stop(); err != nil {
		return "", err
	}
	o := b.options(lockBucket, server.MinioSecret)
	o.Env = append(o.Env, "VARVE_RETENTION_INTERVAL=1s")
	if b.varve, err = b.cfg.start(ctx, "s3-lock", o); err != nil {
		return "", err
	}
	var serial atomic.Int64
	send := func(want int64) error {
		if _, err := b.load(topic("locked"), &serial, want).Run(ctx); err != nil {
			return err
		}
		return archiveAndTrim(ctx, b.varve)
	}
	if err := send(lockMessages); err != nil {
		return "", err
	}
	if _, err := b.varve.CLI(ctx, "hold", "set", "case-1", "--topic", topic("locked"), "--why", "interop"); err != nil {
		return "", err
	}
	first, err := b.allLocked(ctx, m, true, 1)
	if err != nil {
		return "", err
	}
	if err := refusesRemoval(ctx, m, first[0]); err != nil {
		return "", err
	}
	// A new process locks what comes while the hold stands.
	if err := b.varve.Kill(); err != nil {
		return "", err
	}
	if b.varve, err = b.cfg.start(ctx, "s3-lock", o); err != nil {
		return "", err
	}
	if err := send(lockMessages); err != nil {
		return "", err
	}
	second, err := b.allLocked(ctx, m, true, len(first)+1)
	if err != nil {
		return "", err
	}
	if _, err := b.varve.CLI(ctx, "hold", "release", "case-1", "--why", "interop"); err != nil {
		return "", err
	}
	if _, err := b.allLocked(ctx, m, false, len(second)); err != nil {
		return "", err
	}
	if _, err := b.readBack(ctx, topic("locked"), 2*lockMessages, nil); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d files locked, %d more that came after a kill -9; the store refuses to remove one; all unlocked at the release", len(first), len(second)-len(first)), nil
}

// allLocked waits until the store says that all data files, so many at least, are locked, or none is.
func (b *bucketRun) allLocked(ctx context.Context, m *minio.Client, want bool, atLeast int) ([]minio.ObjectInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, lockedWithin)
	defer cancel()
	for {
		var files []minio.ObjectInfo
		other := 0
		for o := range m.ListObjects(ctx, lockBucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
			if o.Err != nil {
				return nil, o.Err
			}
			if !strings.HasSuffix(o.Key, ".parquet") || o.IsDeleteMarker {
				continue
			}
			files = append(files, o)
			status, err := m.GetObjectLegalHold(ctx, lockBucket, o.Key, minio.GetObjectLegalHoldOptions{VersionID: o.VersionID})
			on := err == nil && *status == minio.LegalHoldEnabled
			if err != nil && minio.ToErrorResponse(err).Code != "NoSuchObjectLockConfiguration" {
				return nil, err
			}
			if on != want {
				other++
			}
		}
		if len(files) >= atLeast && other == 0 {
			return files, nil
		}
		select {
		case <-ctx.Done():
			show, _ := b.varve.CLI(context.WithoutCancel(ctx), "hold", "show", "case-1")
			return nil, fmt.Errorf("%d of %d files are not as they should be (locked: %v) after %v; %s", other, len(files), want, lockedWithin, show)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// refusesRemoval: not even the bucket's owner removes a held file's bytes.
func refusesRemoval(ctx context.Context, m *minio.Client, o minio.ObjectInfo) error {
	err := m.RemoveObject(ctx, lockBucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID, GovernanceBypass: true})
	if err == nil {
		return errors.New("a held file's version could be removed: " + o.Key)
	}
	return nil
}
