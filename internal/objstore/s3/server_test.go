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
	objtest.Run(t, func(t *testing.T) objstore.Bucket {
		b := open(t, s3.Config{
			Endpoint: endpoint, Insecure: true, PathStyle: true,
			Bucket: cmp.Or(os.Getenv("VARVE_TEST_S3_BUCKET"), "archive"), Prefix: "conformance/" + rand.Text(),
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
	})
}
