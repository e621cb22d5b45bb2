package app

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/admin"
	"varve/internal/meta"
	"varve/internal/retention"
)

// TestRuleOnFullDisk sets a rule that can't be stored: the answer says that the
// disk is full, by the code that a limit has.
func TestRuleOnFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	m, err := meta.Open("meta", fs)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r, err := loadRules(m)
	if err != nil {
		t.Fatal(err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20})
	err = r.change(func(l []retention.Rule) ([]retention.Rule, error) { return l, nil })
	var api *admin.Error
	if !errors.As(err, &api) || api.Code != admin.CodeLimit {
		t.Errorf("a rule on a full disk: %v", err)
	}
}
