package objtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"

	"varve/internal/objstore"
)

// Op names a method of objstore.Bucket or objstore.Locker.
type Op string

// The methods.
const (
	Get    Op = "get"
	ReadAt Op = "read"
	Put    Op = "put"
	Head   Op = "head"
	Delete Op = "delete"
	List   Op = "list"
	// Of objstore.Locker.
	Locks  Op = "locks"
	Locked Op = "locked"
	Lock   Op = "lock"
	Unlock Op = "unlock"
)

// Errors that a Fault without one of its own gives.
var (
	// ErrUnavailable is what a store says that is overloaded (503).
	ErrUnavailable = errors.New("503 service unavailable")
	// ErrLost is a broken connection: nobody knows what happened.
	ErrLost = errors.New("connection lost")
)

// How says what a Fault does to a call.
type How int

const (
	// Before fails the call without passing it on.
	Before How = iota
	// After passes the call on and then fails it.
	After
	// Half fails in the middle: a reader gives half of the bytes; of a Put,
	// half of the bytes are taken and nothing is stored.
	Half
	// Lie says that a Put, Delete, Lock or Unlock succeeded without passing it on.
	Lie
	// Spoil says that a Put succeeded and keeps other bytes of the same length.
	Spoil
	// Cut says that a Put succeeded and keeps half of the bytes.
	Cut
	// Stale gives a List as it was when the fault was added.
	Stale
	// Slow passes the call on after Wait.
	Slow
)

// Fault is one line of the script. The first one that fits a call is applied.
type Fault struct {
	Op    Op     // any if empty
	Name  string // part of the object's name (a List's prefix); any if empty
	How   How
	Err   error // ErrUnavailable (Before) or ErrLost (After, Half) if nil
	Skip  int   // calls that fit but are left alone first
	Times int   // calls it applies to; all if 0
	// Wait, where set, is called first, on the caller's goroutine.
	Wait func(ctx context.Context) error

	listed map[string]bool
}

// Call is one call as it came.
type Call struct {
	Op   Op
	Name string
}

// Faulty is a bucket in front of another one, with scripted faults.
type Faulty struct {
	inner objstore.Bucket

	mu     sync.Mutex
	faults []*Fault
	calls  []Call
}

var (
	_ objstore.Bucket = (*Faulty)(nil)
	_ objstore.Locker = (*Faulty)(nil)
)

// NewFaulty puts a script in front of a bucket.
func NewFaulty(b objstore.Bucket, faults ...Fault) *Faulty {
	f := &Faulty{inner: b}
	f.Add(faults...)
	return f
}

// Add adds lines to the end of the script.
func (f *Faulty) Add(faults ...Fault) {
	for _, x := range faults {
		if x.How == Stale {
			x.listed = map[string]bool{}
			for o := range f.inner.List(context.Background(), "") {
				x.listed[o.Name] = true
			}
		}
		f.mu.Lock()
		f.faults = append(f.faults, &x)
		f.mu.Unlock()
	}
}

// Clear heals the bucket.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Calls gives the calls so far and forgets them.
func (f *Faulty) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.calls
	f.calls = nil
	return out
}

// next notes a call and finds the fault to apply, nil for none.
func (f *Faulty) next(op Op, name string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, Call{op, name})
	for i, x := range f.faults {
		if x.Op != "" && x.Op != op || !strings.Contains(name, x.Name) {
			continue
		}
		if x.Skip > 0 {
			x.Skip--
			continue
		}
		if x.Times > 0 {
			if x.Times--; x.Times == 0 {
				f.faults = append(f.faults[:i:i], f.faults[i+1:]...)
			}
		}
		return x
	}
	return nil
}

// run applies the script to a call.
func (f *Faulty) run(ctx context.Context, op Op, name string, call func(How) error, half func() error) error {
	x := f.next(op, name)
	if x == nil {
		return call(Slow)
	}
	if x.Wait != nil {
		if err := x.Wait(ctx); err != nil {
			return fmt.Errorf("%s %s: %w", op, name, err)
		}
	}
	fail := func(def error) error {
		if x.Err != nil {
			def = x.Err
		}
		return fmt.Errorf("%s %s: %w", op, name, def)
	}
	switch x.How {
	case After:
		if err := call(After); err != nil {
			return err
		}
		return fail(ErrLost)
	case Half:
		if err := half(); err != nil {
			return err
		}
		return fail(ErrLost)
	case Lie:
		return nil
	case Spoil, Cut, Slow, Stale:
		return call(x.How)
	default:
		return fail(ErrUnavailable)
	}
}

func nothing() error { return nil }

// URL implements objstore.Bucket.
func (f *Faulty) URL() string { return f.inner.URL() }

// Get implements objstore.Bucket. A halved one fails while it is read.
func (f *Faulty) Get(ctx context.Context, name string) (r io.ReadCloser, err error) {
	halved := false
	err = f.run(ctx, Get, name, func(How) (err error) {
		r, err = f.inner.Get(ctx, name)
		return err
	}, func() error {
		halved = true
		return nil
	})
	if !halved {
		if err != nil && r != nil {
			_ = r.Close()
			r = nil
		}
		return r, err
	}
	whole, gerr := f.inner.Get(ctx, name)
	if gerr != nil {
		return nil, gerr
	}
	defer whole.Close()
	data, gerr := io.ReadAll(whole)
	if gerr != nil {
		return nil, gerr
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(data[:len(data)/2]), &errReader{err})), nil
}

// ReadAt implements objstore.Bucket.
func (f *Faulty) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	return f.run(ctx, ReadAt, name, func(How) error {
		return f.inner.ReadAt(ctx, name, p, off)
	}, func() error {
		return f.inner.ReadAt(ctx, name, p[:len(p)/2], off)
	})
}

// Put implements objstore.Bucket.
func (f *Faulty) Put(ctx context.Context, name string, r io.Reader, size int64, c objstore.Cond) error {
	return f.run(ctx, Put, name, func(how How) error {
		if how == Spoil || how == Cut {
			data, err := io.ReadAll(io.LimitReader(r, size))
			if err != nil {
				return err
			}
			if how == Cut {
				data = data[:len(data)/2]
			}
			for i := range data {
				data[i] ^= 0x55
			}
			r, size = bytes.NewReader(data), int64(len(data))
		}
		return f.inner.Put(ctx, name, r, size, c)
	}, func() error {
		_, err := io.CopyN(io.Discard, r, size/2)
		return err
	})
}

// Head implements objstore.Bucket.
func (f *Faulty) Head(ctx context.Context, name string) (o objstore.Object, err error) {
	err = f.run(ctx, Head, name, func(How) (err error) {
		o, err = f.inner.Head(ctx, name)
		return err
	}, nothing)
	if err != nil {
		o = objstore.Object{}
	}
	return o, err
}

// Delete implements objstore.Bucket.
func (f *Faulty) Delete(ctx context.Context, name string) error {
	return f.run(ctx, Delete, name, func(How) error { return f.inner.Delete(ctx, name) }, nothing)
}

// Locks implements objstore.Locker, as the bucket behind it does.
func (f *Faulty) Locks(ctx context.Context) (on bool, err error) {
	err = f.run(ctx, Locks, "", func(How) (err error) {
		on, err = objstore.LockerOf(f.inner).Locks(ctx)
		return err
	}, nothing)
	return on && err == nil, err
}

// Locked implements objstore.Locker.
func (f *Faulty) Locked(ctx context.Context, name string) (on bool, err error) {
	err = f.run(ctx, Locked, name, func(How) (err error) {
		on, err = objstore.LockerOf(f.inner).Locked(ctx, name)
		return err
	}, nothing)
	return on && err == nil, err
}

// SetLock implements objstore.Locker.
func (f *Faulty) SetLock(ctx context.Context, name string, on bool) error {
	op := Unlock
	if on {
		op = Lock
	}
	return f.run(ctx, op, name, func(How) error { return objstore.LockerOf(f.inner).SetLock(ctx, name, on) }, nothing)
}

// List implements objstore.Bucket.
func (f *Faulty) List(ctx context.Context, prefix string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		x := f.next(List, prefix)
		if x != nil && x.Wait != nil {
			if err := x.Wait(ctx); err != nil {
				yield(objstore.Object{}, fmt.Errorf("list %s: %w", prefix, err))
				return
			}
		}
		given := 0
		for o, err := range f.inner.List(ctx, prefix) {
			if x != nil && (x.How == Before || x.How == Half && given == 1) {
				break
			}
			if x != nil && x.How == Stale && err == nil && !x.listed[o.Name] {
				continue
			}
			if given++; !yield(o, err) {
				return
			}
		}
		if x != nil && x.How < Lie {
			err := x.Err
			if err == nil {
				err = ErrUnavailable
			}
			yield(objstore.Object{}, fmt.Errorf("list %s: %w", prefix, err))
		}
	}
}
