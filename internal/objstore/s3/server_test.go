package s3_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"os"
	"testing"

	"varve/internal/objstore"
	"varve/internal/objstore/objtest"
	"varve/internal/objstore/s3"
)

// TestConformanceOfServer holds a real S3 server to the contract: the one that
// VARVE_TEST_S3_ENDPOINT names, with VARVE_TEST_S3_BUCKET, _ACCESS_KEY and
// _SECRET_KEY. It works below a prefix of its own and leaves nothing behind.
func TestConformanceOfServer(t *testing.T) {
	endpoint := os.Getenv("VARVE_TEST_S3_ENDPOINT")
	if endpoint == "" {
		t.Skip("VARVE_TEST_S3_ENDPOINT names no server")
	}
	bucket := cmp.Or(os.Getenv("VARVE_TEST_S3_BUCKET"), "archive")
	objtest.Run(t, func(t *testing.T) objstore.Bucket { return openServer(t, endpoint, bucket) })
	if on, err := openServer(t, endpoint, bucket).Locks(t.Context()); on || err != nil {
		t.Errorf("a bucket without object lock keeps locks: %v, %v", on, err)
	}
}

// TestLocksOfServer holds a bucket of that server that has S3 Object Lock, and
// so versions, to both contracts: VARVE_TEST_S3_LOCK_BUCKET. Its old versions
// stay.
func TestLocksOfServer(t *testing.T) {
	endpoint, bucket := os.Getenv("VARVE_TEST_S3_ENDPOINT"), os.Getenv("VARVE_TEST_S3_LOCK_BUCKET")
	if endpoint == "" || bucket == "" {
		t.Skip("VARVE_TEST_S3_ENDPOINT and VARVE_TEST_S3_LOCK_BUCKET name no bucket with object lock")
	}
	objtest.Run(t, func(t *testing.T) objstore.Bucket { return openServer(t, endpoint, bucket) })
	objtest.RunLocker(t, func(t *testing.T) objstore.Bucket { return openServer(t, endpoint, bucket) })
}

func openServer(t *testing.T, endpoint, bucket string) *s3.Bucket {
	t.Helper()
	b := open(t, s3.Config{
		Endpoint: endpoint, Insecure: true, PathStyle: true, Bucket: bucket, Prefix: "conformance/" + rand.Text(),
		AccessKey: os.Getenv("VARVE_TEST_S3_ACCESS_KEY"), SecretKey: os.Getenv("VARVE_TEST_S3_SECRET_KEY"),
	})
	t.Cleanup(func() {
		ctx := context.Background() // the test's own has ended
		for o, err := range b.List(ctx, "") {
			if err != nil {
				t.Errorf("clean up: %v", err)
				return
			}
			_ = b.Delete(ctx, o.Name) // what stays is below a prefix that nobody reads
		}
	})
	return b
}
