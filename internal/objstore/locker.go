package objstore

import "context"

// Locker is a Bucket that can keep an object's bytes from everybody, whoever
// has its credentials, until the lock is taken off: the legal hold of S3 Object
// Lock. objtest holds it to this contract.
//
// A lock is of the object as it is now. Delete of a locked object fails or hides
// it: reads then find nothing, and the bytes stay in the store. A Put over it
// makes another object, which isn't locked. Locked and SetLock of an absent
// object are ErrNotFound; ErrDenied says that the credentials may not do it.
type Locker interface {
	// Locks reports whether the bucket keeps locks at all. Where it doesn't, the
	// other methods are not called.
	Locks(ctx context.Context) (bool, error)
	// Locked reports whether an object is locked, by whomever.
	Locked(ctx context.Context, name string) (bool, error)
	// SetLock locks an object or takes its lock off. It changes nothing where
	// that is so already.
	SetLock(ctx context.Context, name string, on bool) error
}

// LockerOf gives what locks a bucket's objects; one that keeps no locks where
// the bucket can't.
func LockerOf(b Bucket) Locker {
	if l, ok := b.(Locker); ok {
		return l
	}
	return lockless{}
}

type lockless struct{}

func (lockless) Locks(context.Context) (bool, error) { return false, nil }

func (lockless) Locked(context.Context, string) (bool, error) { return false, nil }

func (lockless) SetLock(context.Context, string, bool) error { return nil }
