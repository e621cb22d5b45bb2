package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	// freeBody is what every request's body may have without counting.
	freeBody = 64 << 10
	// placeWithin is how long a body may wait for a place.
	placeWithin = time.Minute
)

// Errors of a body that is read.
var (
	// ErrFull says that a body found no room beside others'.
	ErrFull = errors.New("too much is being read at once")
	// ErrSlow says that a body came too slowly for the memory it holds.
	ErrSlow = errors.New("the request's body comes too slowly")
)

// Handler has h read the bodies of its requests within a budget. What was read
// counts until h is done with the request.
func Handler(h http.Handler, b *Budget) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			h.ServeHTTP(w, r)
			return
		}
		in := &body{ReadCloser: r.Body, ctx: r.Context(), conn: http.NewResponseController(w), share: b.Share()}
		defer in.share.Release()
		counted := *r
		counted.Body = in
		h.ServeHTTP(w, &counted)
	})
}

// body is a request's body that is paid for.
type body struct {
	io.ReadCloser
	ctx   context.Context
	conn  *http.ResponseController
	total int64
	share Share
	step  Step
}

// Read reads on, as soon as there is room for what came before.
func (b *body) Read(p []byte) (int, error) {
	if !b.share.Taken() {
		n, err := b.ReadCloser.Read(p)
		return b.came(n, err)
	}
	begun := time.Now()
	if err := b.conn.SetReadDeadline(begun.Add(StepTime - b.step.Waited)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, fmt.Errorf("%w: %d bytes in %s, want %d", ErrSlow, b.step.Bytes, StepTime, StepBytes)
	}
	b.step.Add(n, time.Since(begun))
	if err != nil { // the handler may take longer than a step
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return b.came(n, err)
}

// came pays for n bytes.
func (b *body) came(n int, err error) (int, error) {
	b.total += int64(n)
	if b.total <= freeBody || b.share.TryGrow(b.total-freeBody) {
		return n, err
	}
	ctx, cancel := context.WithTimeout(b.ctx, placeWithin)
	defer cancel()
	if b.share.Grow(ctx, b.total-freeBody) != nil {
		return 0, ErrFull
	}
	return n, err
}
