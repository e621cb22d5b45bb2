package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"varve/internal/objstore"
)

const (
	defaultTimeout = 5 * time.Second
	// What changes the bucket waits at least so long for an answer: to give up
	// a change that happens all the same costs more than waiting for it.
	changeTimeout = 30 * time.Second
	// Transfers get this much longer: a second for each of these bytes.
	slowestRate   = 1 << 20
	readAttempts  = 4
	writeAttempts = 1
	maxPutSize    = 5 << 30 // S3's limit of one request
)

// Config says where a bucket is and how to reach it.
type Config struct {
	Endpoint     string // host or host:port, without a scheme
	Insecure     bool   // plain HTTP
	Region       string // default us-east-1; named, it saves a request
	Bucket       string
	Prefix       string // of all object names, without slashes at its ends
	AccessKey    string
	SecretKey    string
	SessionToken string
	PathStyle    bool          // bucket in the path, not in the host name
	Timeout      time.Duration // for the store to answer or to go on with an answer; default 5 s, for changes 30 s at least
	Transport    http.RoundTripper
}

func (c Config) check() error {
	switch {
	case c.Endpoint == "" || strings.Contains(c.Endpoint, "://"):
		return fmt.Errorf("endpoint %q: want host or host:port", c.Endpoint)
	case len(c.Bucket) < 3:
		return fmt.Errorf("bucket %q: a bucket's name has 3 characters at least", c.Bucket)
	case c.AccessKey == "" || c.SecretKey == "":
		return errors.New("access key and secret key are needed")
	case c.Prefix != "":
		return objstore.CheckName(c.Prefix)
	}
	return nil
}

// Bucket keeps objects in one bucket, under one prefix.
type Bucket struct {
	read    minio.Core // repeats requests that failed
	write   minio.Core // does not
	bucket  string
	prefix  string        // with a slash at the end, or empty
	timeout time.Duration // of what only reads
	change  time.Duration // of what changes the bucket
}

var _ objstore.Bucket = (*Bucket)(nil)

// New makes a client of a bucket. It sends nothing; objstore.Probe does.
func New(c Config) (*Bucket, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("s3 bucket: %w", err)
	}
	b := &Bucket{bucket: c.Bucket, timeout: c.Timeout}
	if b.timeout <= 0 {
		b.timeout = defaultTimeout
	}
	b.change = max(b.timeout, changeTimeout)
	if c.Prefix != "" {
		b.prefix = c.Prefix + "/"
	}
	o := minio.Options{
		Creds:     credentials.NewStaticV4(c.AccessKey, c.SecretKey, c.SessionToken),
		Secure:    !c.Insecure,
		Region:    c.Region,
		Transport: c.Transport,
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if c.PathStyle {
		o.BucketLookup = minio.BucketLookupPath
	}
	for _, x := range []struct {
		core     *minio.Core
		attempts int
	}{{&b.read, readAttempts}, {&b.write, writeAttempts}} {
		opts := o
		opts.MaxRetries = x.attempts
		core, err := minio.NewCore(c.Endpoint, &opts)
		if err != nil {
			return nil, fmt.Errorf("s3 bucket %s: %w", c.Bucket, err)
		}
		*x.core = *core
	}
	return b, nil
}

// URL implements objstore.Bucket.
func (b *Bucket) URL() string {
	return strings.TrimSuffix("s3://"+b.bucket+"/"+b.prefix, "/")
}

// begin checks a name and bounds a request that transfers some bytes.
func (b *Bucket) begin(ctx context.Context, op, name string, d time.Duration, bytes int64) (*patience, error) {
	if err := objstore.CheckName(name); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return newPatience(ctx, d+time.Duration(bytes/slowestRate)*time.Second), nil
}

// classify wraps an error of the store with what was done to what, and with
// the sentinel that fits. A silent store's is not a context's: nobody who asked
// gave up.
func (b *Bucket) classify(ctx context.Context, op, name string, err error) error {
	var sentinel error
	var resp minio.ErrorResponse
	if errors.As(err, &resp) {
		sentinel = sentinelOf(resp)
	}
	switch cause := context.Cause(ctx); {
	case sentinel != nil:
		return fmt.Errorf("%s %s: %w: %s (%s)%s", op, name, sentinel, err, resp.Code, missing(op, resp.Code))
	case errors.Is(cause, objstore.ErrNoAnswer):
		return fmt.Errorf("%s %s: %w", op, name, cause)
	case ctx.Err() != nil && cause != nil:
		return fmt.Errorf("%s %s: %w: %w", op, name, cause, ctx.Err())
	}
	return fmt.Errorf("%s %s: %w", op, name, err)
}

// rights are what a store must let these credentials do, by what is done.
var rights = map[string]string{
	"get":                   readRights,
	"read":                  readRights,
	"head":                  readRights,
	"put":                   "s3:PutObject",
	"delete":                "s3:DeleteObject",
	"list":                  "s3:ListBucket",
	"object lock of bucket": "s3:GetBucketObjectLockConfiguration",
	"legal hold of":         "s3:GetObjectLegalHold",
	"lock":                  "s3:PutObjectLegalHold",
	"unlock":                "s3:PutObjectLegalHold",
}

// readRights: without the second a store doesn't tell that an object is missing.
const readRights = "s3:GetObject, and s3:ListBucket where the object isn't there"

// missing names the right that is lacking, where that is what a store refuses for.
func missing(op, code string) string {
	if right := rights[op]; right != "" && code == "AccessDenied" {
		return "; it needs " + right
	}
	return ""
}

func sentinelOf(resp minio.ErrorResponse) error {
	switch resp.Code {
	case "NoSuchKey":
		return objstore.ErrNotFound
	case "NoSuchBucket":
		return objstore.ErrNoBucket
	case "PreconditionFailed", "ConditionalRequestConflict":
		return objstore.ErrExists
	case "AccessDenied", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch",
		"ExpiredToken", "InvalidToken", "AccountProblem", "InvalidSecurity", "MethodNotAllowed":
		return objstore.ErrDenied
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientCapacity":
		return objstore.ErrFull
	case "InvalidRange":
		return io.ErrUnexpectedEOF
	}
	switch resp.StatusCode {
	case http.StatusPreconditionFailed:
		return objstore.ErrExists
	case http.StatusForbidden, http.StatusUnauthorized:
		return objstore.ErrDenied
	case http.StatusInsufficientStorage:
		return objstore.ErrFull
	case http.StatusRequestedRangeNotSatisfiable:
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	p, err := b.begin(ctx, "get", name, b.timeout, 0)
	if err != nil {
		return nil, err
	}
	r, _, _, err := b.read.GetObject(p, b.bucket, b.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		defer p.end()
		return nil, b.classify(p, "get", name, err)
	}
	p.rest()
	return &body{ReadCloser: r, b: b, p: p, name: name}, nil
}

// body is an object that is being read. The store has to go on with it in time;
// its reader may take as long as it likes.
type body struct {
	io.ReadCloser
	b    *Bucket
	p    *patience
	name string
}

func (r *body) Read(buf []byte) (int, error) {
	r.p.wait()
	n, err := r.ReadCloser.Read(buf)
	r.p.rest()
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.b.classify(r.p, "get", r.name, err)
	}
	return n, err
}

func (r *body) Close() error {
	defer r.p.end()
	return r.ReadCloser.Close()
}

// ReadAt implements objstore.Bucket: one ranged GET.
func (b *Bucket) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	wait, err := b.begin(ctx, "read", name, b.timeout, int64(len(p)))
	if err != nil {
		return err
	}
	defer wait.end()
	if len(p) == 0 || off < 0 {
		o, err := b.Head(ctx, name)
		if err == nil && (off < 0 || off > o.Size) {
			err = fmt.Errorf("read %s: %d bytes at %d of %d: %w", name, len(p), off, o.Size, io.ErrUnexpectedEOF)
		}
		return err
	}
	var o minio.GetObjectOptions
	if err := o.SetRange(off, off+int64(len(p))-1); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	r, _, _, err := b.read.GetObject(wait, b.bucket, b.prefix+name, o)
	if err != nil {
		return b.classify(wait, "read", name, err)
	}
	defer r.Close()
	n, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return b.classify(wait, "read", name, fmt.Errorf("%d bytes of %d at %d: %w", n, len(p), off, err))
	}
	return nil
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, name string, r io.Reader, size int64, c objstore.Cond) error {
	if size > maxPutSize {
		return fmt.Errorf("put %s: %d bytes are over the limit of %d", name, size, int64(maxPutSize))
	}
	wait, err := b.begin(ctx, "put", name, b.change, size)
	if err != nil {
		return err
	}
	defer wait.end()
	o := minio.PutObjectOptions{DisableMultipart: true, ContentType: "application/octet-stream"}
	if c == objstore.IfAbsent {
		o.SetMatchETagExcept("*")
	}
	info, err := b.write.Client.PutObject(wait, b.bucket, b.prefix+name, io.LimitReader(r, size), size, o)
	if err != nil {
		return b.classify(wait, "put", name, err)
	}
	if info.Size != size {
		return fmt.Errorf("put %s: the store took %d bytes of %d: %w", name, info.Size, size, io.ErrUnexpectedEOF)
	}
	return nil
}

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, name string) (objstore.Object, error) {
	wait, err := b.begin(ctx, "head", name, b.timeout, 0)
	if err != nil {
		return objstore.Object{}, err
	}
	defer wait.end()
	info, err := b.read.Client.StatObject(wait, b.bucket, b.prefix+name, minio.StatObjectOptions{})
	if err != nil {
		return objstore.Object{}, b.classify(wait, "head", name, err)
	}
	return b.describe(info, name), nil
}

func (b *Bucket) describe(info minio.ObjectInfo, name string) objstore.Object {
	return objstore.Object{Name: name, Size: info.Size, ETag: info.ETag, Modified: info.LastModified}
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	wait, err := b.begin(ctx, "delete", name, b.change, 0)
	if err != nil {
		return err
	}
	defer wait.end()
	err = b.read.Client.RemoveObject(wait, b.bucket, b.prefix+name, minio.RemoveObjectOptions{})
	if err == nil {
		return nil
	}
	if err = b.classify(wait, "delete", name, err); errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	return err
}

// List implements objstore.Bucket, a thousand objects a request. Each has to be
// answered in time; how long all of them take is how many objects there are.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		p := newPatience(ctx, b.timeout)
		defer p.end()
		owner := false
		o := minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true, FetchOwner: &owner}
		for info := range b.read.ListObjectsIter(p, b.bucket, o) {
			p.rest()
			if info.Err != nil {
				yield(objstore.Object{}, b.classify(p, "list", prefix, info.Err))
				return
			}
			name, ok := strings.CutPrefix(info.Key, b.prefix)
			if ok && !strings.HasSuffix(name, "/") && !yield(b.describe(info, name), nil) { // else a folder that some tool made
				return
			}
			p.wait()
		}
		if err := p.Err(); err != nil {
			yield(objstore.Object{}, b.classify(p, "list", prefix, err))
		}
	}
}
