package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"

	"github.com/minio/minio-go/v7"

	"varve/internal/objstore"
)

var _ objstore.Locker = (*Bucket)(nil)

// Locks implements objstore.Locker: S3 Object Lock. A store that doesn't know it
// says so, or answers something else.
func (b *Bucket) Locks(ctx context.Context) (bool, error) {
	wait := newPatience(ctx, b.timeout)
	defer wait.end()
	enabled, _, _, _, err := b.read.GetObjectLockConfig(wait, b.bucket)
	var resp minio.ErrorResponse
	var other xml.UnmarshalError
	switch {
	case errors.As(err, &other):
		return false, nil
	case errors.As(err, &resp) && (resp.Code == "ObjectLockConfigurationNotFoundError" || resp.Code == "NotImplemented" || resp.Code == "XNotImplemented"):
		return false, nil
	case err != nil:
		return false, b.classify(wait, "object lock of bucket", b.bucket, err)
	}
	return enabled == "Enabled", nil
}

// Locked implements objstore.Locker.
func (b *Bucket) Locked(ctx context.Context, name string) (bool, error) {
	wait, err := b.begin(ctx, "legal hold of", name, b.timeout, 0)
	if err != nil {
		return false, err
	}
	defer wait.end()
	status, err := b.read.GetObjectLegalHold(wait, b.bucket, b.prefix+name, minio.GetObjectLegalHoldOptions{})
	var resp minio.ErrorResponse
	switch {
	case errors.As(err, &resp) && resp.Code == "NoSuchObjectLockConfiguration": // it never had one
		return false, nil
	case err != nil:
		return false, b.lockError(wait, "legal hold of", name, err)
	}
	return *status == minio.LegalHoldEnabled, nil
}

// SetLock implements objstore.Locker: a legal hold, which has no end of its own
// and needs no retention mode.
func (b *Bucket) SetLock(ctx context.Context, name string, on bool) error {
	op, status := "lock", minio.LegalHoldEnabled
	if !on {
		op, status = "unlock", minio.LegalHoldDisabled
	}
	wait, err := b.begin(ctx, op, name, b.change, 0)
	if err != nil {
		return err
	}
	defer wait.end()
	err = b.read.PutObjectLegalHold(wait, b.bucket, b.prefix+name, minio.PutObjectLegalHoldOptions{Status: &status})
	if err != nil {
		return b.lockError(wait, op, name, err)
	}
	return nil
}

// lockError is classify for a request about an object whose newest version may
// be a delete marker: stores refuse the method then.
func (b *Bucket) lockError(ctx context.Context, op, name string, err error) error {
	var resp minio.ErrorResponse
	if errors.As(err, &resp) && resp.Code == "MethodNotAllowed" {
		return fmt.Errorf("%s %s: %w: %w", op, name, objstore.ErrNotFound, err)
	}
	return b.classify(ctx, op, name, err)
}
