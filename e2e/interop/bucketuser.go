package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/signer"

	"varve/e2e/server"
	"varve/e2e/wire"
)

const (
	userBucket   = "varve-interop-user"
	userMessages = 4000
	userSecret   = "restricted-secret-1"
)

// plainRights and lockRights are those that docs/ops names, and no others.
var (
	plainRights = []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"}
	lockRights  = []string{"s3:GetBucketObjectLockConfiguration", "s3:GetObjectLegalHold", "s3:PutObjectLegalHold"}
)

// restricted: a user of the store that may what is documented and nothing more has all that works with object lock, and where a
// right is missing it is named.
func (b *bucketRun) restricted(ctx context.Context) {
	all := slices.Concat(plainRights, lockRights)
	for _, right := range plainRights {
		_ = b.page.try("without "+right, bucketColumn, func() (string, error) { return b.refusedWithout(ctx, all, right) })
	}
	_ = b.page.try("a user with the rights that are documented", bucketColumn, func() (string, error) { return b.restrictedLock(ctx, all) })
	for _, right := range lockRights {
		_ = b.page.try("without "+right, bucketColumn, func() (string, error) { return b.unlockedWithout(ctx, all, right) })
	}
}

func without(rights []string, right string) []string {
	return slices.DeleteFunc(slices.Clone(rights), func(r string) bool { return r == right })
}

// asUser starts a server as the store's user of that name.
func (b *bucketRun) asUser(ctx context.Context, user string) error {
	o := b.options(userBucket, userSecret)
	o.S3.AccessKey = user
	o.Env = append(o.Env, "VARVE_RETENTION_INTERVAL=1s", "VARVE_RETENTION_GRACE=1s", "VARVE_RETENTION_SWEEP=1s")
	var err error
	b.varve, err = b.cfg.start(ctx, "s3-user", o)
	return err
}

// refusedWithout: a server that may not do what every archive needs doesn't start on an empty place, and says what it needs.
func (b *bucketRun) refusedWithout(ctx context.Context, all []string, right string) (string, error) {
	user := "no-" + strings.ToLower(strings.TrimPrefix(right, "s3:"))
	if err := makeUser(ctx, user, without(all, right)); err != nil {
		return "", err
	}
	o := b.options(userBucket, userSecret)
	o.S3.AccessKey = user
	s, err := b.cfg.start(ctx, "s3-"+user, o)
	if err == nil {
		return "", errors.Join(errors.New("the server started"), s.Stop())
	}
	if !strings.Contains(err.Error(), right) {
		return "", fmt.Errorf("%s isn't named: %w", right, err)
	}
	return "refused, and named", nil
}

func (b *bucketRun) userLoad(topic string) wire.Load {
	return b.load(topic, new(atomic.Int64), userMessages)
}

// restrictedLock: archiving, holds with locks, retention and the sweep work with what is documented.
func (b *bucketRun) restrictedLock(ctx context.Context, all []string) (string, error) {
	m, err := minioClient()
	if err != nil {
		return "", err
	}
	if err := errors.Join(makeUser(ctx, "documented", all), b.asUser(ctx, "documented")); err != nil {
		return "", err
	}
	defer func() { _ = b.varve.Kill() }()
	for _, t := range []string{"user_held", "user_free"} {
		if err := send(ctx, b.userLoad(t)); err != nil {
			return "", err
		}
	}
	if err := archiveAndTrim(ctx, b.varve); err != nil {
		return "", err
	}
	if _, err := b.varve.CLI(ctx, "hold", "set", "case-u", "--topic", "user_held", "--why", "interop"); err != nil {
		return "", err
	}
	if _, err := b.varve.CLI(ctx, "retention", "set", "all", "--topic", "user_*", "--keep-for", "1s"); err != nil {
		return "", err
	}
	held := 0
	err = within(ctx, lockedWithin, func() (bool, error) { // what is held is locked, and the other topic's files are gone
		held = 0
		for o := range m.ListObjects(ctx, userBucket, minio.ListObjectsOptions{Recursive: true}) {
			switch {
			case o.Err != nil:
				return false, o.Err
			case !strings.HasSuffix(o.Key, ".parquet"):
			case strings.Contains(o.Key, "/user_free/"):
				return false, nil
			default:
				status, err := m.GetObjectLegalHold(ctx, userBucket, o.Key, minio.GetObjectLegalHoldOptions{})
				if err != nil || *status != minio.LegalHoldEnabled {
					return false, nil
				}
				held++
			}
		}
		return held > 0, nil
	})
	if err != nil {
		return "", err
	}
	if _, err := b.varve.CLI(ctx, "hold", "release", "case-u", "--why", "interop"); err != nil {
		return "", err
	}
	err = within(ctx, lockedWithin, func() (bool, error) {
		for o := range m.ListObjects(ctx, userBucket, minio.ListObjectsOptions{Recursive: true}) {
			if o.Err != nil || strings.HasSuffix(o.Key, ".parquet") {
				return false, o.Err
			}
		}
		return true, nil
	})
	if err == nil {
		_, err = b.varve.CLI(ctx, "retention", "delete", "all")
	}
	return fmt.Sprintf("%d files locked, the rest swept; after the release they went too", held), err
}

// unlockedWithout: a hold holds all the same, and says which right the locks need.
func (b *bucketRun) unlockedWithout(ctx context.Context, all []string, right string) (string, error) {
	user := "no-" + strings.ToLower(strings.TrimPrefix(right, "s3:"))
	if err := errors.Join(makeUser(ctx, user, without(all, right)), b.asUser(ctx, user)); err != nil {
		return "", err
	}
	defer func() { _ = b.varve.Kill() }()
	topic := "user_" + strings.ReplaceAll(user, "-", "_")
	if err := errors.Join(send(ctx, b.userLoad(topic)), archiveAndTrim(ctx, b.varve)); err != nil {
		return "", err
	}
	name := strings.ReplaceAll(topic, "_", "-")
	if _, err := b.varve.CLI(ctx, "hold", "set", name, "--topic", topic, "--why", "interop"); err != nil {
		return "", err
	}
	err := within(ctx, lockedWithin, func() (bool, error) {
		out, err := b.varve.CLI(ctx, "hold", "show", name)
		return strings.Contains(string(out), "it needs "+right), err
	})
	if err != nil {
		show, _ := b.varve.CLI(context.WithoutCancel(ctx), "hold", "show", name)
		return "", fmt.Errorf("%s isn't named: %w: %s", right, err, show)
	}
	_, err = b.readBack(ctx, topic, userMessages, nil)
	return "named by varve hold show; the hold holds", err
}

// within asks again and again until it is so.
func within(ctx context.Context, d time.Duration, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		ok, err := so()
		if ok || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not so within %v: %w", d, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// makeUser makes a user of the store that has these rights in one bucket and none else.
func makeUser(ctx context.Context, name string, rights []string) error {
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Action": rights, "Resource": []string{"arn:aws:s3:::" + userBucket, "arn:aws:s3:::" + userBucket + "/*"},
	}}})
	if err != nil {
		return fmt.Errorf("writing a policy: %w", err)
	}
	account, err := sealed(server.MinioSecret, []byte(`{"secretKey":"`+userSecret+`","status":"enabled"}`))
	if err != nil {
		return err
	}
	return errors.Join(
		adminPut(ctx, "add-user", url.Values{"accessKey": {name}}, account),
		adminPut(ctx, "add-canned-policy", url.Values{"name": {name}}, policy),
		adminPut(ctx, "set-user-or-group-policy", url.Values{"policyName": {name}, "userOrGroup": {name}, "isGroup": {"false"}}, nil),
	)
}

// adminPut makes a request of MinIO's administration.
func adminPut(ctx context.Context, what string, q url.Values, body []byte) error {
	u := "http://" + server.MinioAddr + "/minio/admin/v3/" + what + "?" + q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	sum := sha256.Sum256(body)
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	resp, err := http.DefaultClient.Do(signer.SignV4(*req, server.MinioKey, server.MinioSecret, "", "us-east-1"))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("%s: %s: %s", what, resp.Status, said)
	}
	return nil
}

// sealed encrypts what MinIO's administration takes encrypted only: salt, the cipher's number, nonce, and one fragment of AES-256-GCM.
func sealed(password string, data []byte) ([]byte, error) {
	const pbkdf2AESGCM, cost = 2, 8192
	out := make([]byte, 32+1+8)
	_, _ = rand.Read(out) // it never fails
	out[32] = pbkdf2AESGCM
	key, err := pbkdf2.Key(sha256.New, password, out[:32], cost, 32)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("making a cipher: %w", err)
	}
	nonce := func(fragment uint32) []byte {
		return binary.LittleEndian.AppendUint32(slices.Clone(out[33:]), fragment)
	}
	last := gcm.Seal([]byte{0x80}, nonce(0), nil, nil)
	return gcm.Seal(slices.Clone(out), nonce(1), data, last), nil
}
