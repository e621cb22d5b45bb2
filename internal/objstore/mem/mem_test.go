package mem_test

import (
	"testing"

	"varve/internal/objstore"
	"varve/internal/objstore/mem"
	"varve/internal/objstore/objtest"
)

func TestConformance(t *testing.T) {
	objtest.Run(t, func(*testing.T) objstore.Bucket { return mem.New() })
}

func TestLocks(t *testing.T) {
	objtest.Run(t, func(*testing.T) objstore.Bucket { return mem.NewLocking() })
	objtest.RunLocker(t, func(*testing.T) objstore.Bucket { return mem.NewLocking() })
	if on, err := objstore.LockerOf(mem.New()).Locks(t.Context()); on || err != nil {
		t.Errorf("a bucket without locks: %v, %v", on, err)
	}
}
