package main

import (
	"slices"
	"strings"
	"testing"

	"varve/internal/admin"
)

func TestGroupShowTellsWhoDiffers(t *testing.T) {
	var out strings.Builder
	table := newTable(&out)
	differingRows(table, nil)
	differingRows(table, []admin.Wish{
		{Subscriptions: []string{"orders: paid", "refunds: *"}, ClientIDs: []string{"a", "b"}},
		{Subscriptions: []string{"orders: *"}, ClientIDs: []string{"c"}},
	})
	if err := table.w.Flush(); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(out.String(), "\n")
	for i, want := range []string{"clients subscribe to different things", "CLIENT  SUBSCRIPTIONS", "a       orders: paid; refunds: *", "b       orders: paid; refunds: *", "c       orders: *"} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Errorf("line %d of\n%swants %q", i+1, &out, want)
		}
	}
}

func TestGroupShowNamesTheMembers(t *testing.T) {
	var out strings.Builder
	table := newTable(&out)
	memberRows(table, nil)
	memberRows(table, []string{"HTTP@192.0.2.7", "host@1"})
	if err := table.w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Fields(out.String()), []string{"MEMBER", "HTTP@192.0.2.7", "host@1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
