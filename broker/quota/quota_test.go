package quota

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/meta"
)

func TestQuotas(t *testing.T) {
	fs := vfs.NewMem()
	m, err := meta.Open("meta", fs)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	q, err := Load(m, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string, err error, over bool) {
		t.Helper()
		if over != errors.Is(err, ErrOver) || !over && err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	want("no limits", q.Send("acme%orders", 1e6, 1e9), false)
	for _, l := range []Limits{
		{Tenant: "acme", SendMessages: 10, SendBytes: 1000, ReadBytes: 100, Connections: 1}, {Tenant: Everyone, SendMessages: 1},
	} {
		if err := q.Put(l); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		want("within", q.Send("acme%orders", 1, 10), false)
	}
	want("an eleventh", q.Send("acme%other", 1, 10), true)
	now = now.Add(100 * time.Millisecond)
	want("a tenth of a second later", q.Send("acme%orders", 1, 10), false)
	want("and one more", q.Send("acme%orders", 1, 10), true)
	now = now.Add(time.Hour)
	want("a batch larger than a second", q.Send("acme%orders", 1, 5000), false)
	now = now.Add(3 * time.Second)
	want("while it is paid for", q.Send("acme%orders", 1, 1), true)
	now = now.Add(2 * time.Second)
	want("when it is", q.Send("acme%orders", 1, 1), false)
	want("another tenant", q.Send("orders", 1, 1), false)
	want("which has everyone's limits", q.Send("orders", 1, 1), true)
	want("each for itself", q.Send("other%orders", 1, 1), false)

	want("read", q.MayRead("acme%orders"), false)
	q.Read("acme%orders", 5, 150)
	want("read in debt", q.MayRead("%RETRY%acme%g"), true)
	now = now.Add(time.Second)
	want("read again", q.MayRead("acme%orders"), false)

	a, b := new(int), new(int)
	want("first client", q.Join(a, "acme%g"), false)
	want("its next beat", q.Join(a, "acme%g"), false)
	want("second client", q.Join(b, "acme%g"), true)
	q.Leave(a)
	want("after the first went", q.Join(b, "acme%g"), false)
	want("a tenant that is no text", q.Join(new(int), "\xff%g"), false)
	want("its send", q.Send("\xff%orders", 1, 1), false)
	want("its next", q.Send("\xff%orders", 1, 1), true)
	got := map[Refusal]bool{}
	for _, r := range q.Refused() {
		got[r] = true
	}
	for _, r := range []Refusal{{"acme", OfSends, 3}, {"default", OfSends, 1}, {"acme", OfReads, 1}, {"acme", OfClients, 1}, {Everyone, OfSends, 1}} {
		if !got[r] || len(got) != 5 {
			t.Errorf("refused %v, want %v to be counted", got, r)
		}
	}
	for _, l := range []Limits{{}, {Tenant: "a%b"}, {Tenant: "a", SendBytes: -1}} {
		if q.Put(l) == nil {
			t.Errorf("%+v is taken", l)
		}
	}
	if had, err := q.Delete(Everyone); !had || err != nil {
		t.Error(had, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if m, err = meta.Open("meta", fs); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if q, err = Load(m, time.Now); err != nil || len(q.All()) != 1 || q.All()[0].SendBytes != 1000 {
		t.Errorf("after a restart: %+v, %v", q.All(), err)
	}
}

// Connections that are used for several tenants count for each, and many
// tenants don't make those that use much forgotten.
func TestWhatTenantsUseIsKept(t *testing.T) {
	m, err := meta.Open("meta", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	now := time.Unix(1000, 0)
	q, err := Load(m, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Put(Limits{Tenant: Everyone, SendMessages: 1, Connections: 1}); err != nil {
		t.Fatal(err)
	}
	one, two := new(int), new(int)
	for _, tenant := range []string{"a", "b"} {
		if err := q.Join(one, tenant+"%t"); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Send("a%t", 100, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxTenants {
		now = now.Add(time.Millisecond / 10)
		if err := q.Send(fmt.Sprint(i, "%t"), 1, 1); err != nil {
			t.Fatal(err)
		}
	}
	if len(q.uses) > maxTenants {
		t.Errorf("%d tenants are kept in mind", len(q.uses))
	}
	for _, tenant := range []string{"a", "b"} {
		if err := q.Join(two, tenant+"%t"); !errors.Is(err, ErrOver) {
			t.Errorf("a second connection of %s: %v", tenant, err)
		}
	}
	if err := q.Send("a%t", 1, 1); !errors.Is(err, ErrOver) {
		t.Errorf("a tenant in debt for a minute more: %v", err)
	}
	q.Leave(one)
	for _, tenant := range []string{"a", "b"} {
		if err := q.Join(two, tenant+"%t"); err != nil {
			t.Errorf("when the first is gone: %v", err)
		}
	}
}
