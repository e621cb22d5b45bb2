package group

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"

	"varve/internal/meta"
	"varve/internal/mq"
)

// fakeClient writes down what it is told.
type fakeClient struct {
	name string
	told *[]string
}

func (c *fakeClient) RemoteAddr() netip.AddrPort { return netip.AddrPort{} }

func (c *fakeClient) NotifyMembersChanged(group string) {
	*c.told = append(*c.told, c.name+" is told of "+group)
}

// story drives a Registry and Locks by a script.
type story struct {
	registry *Registry
	locks    *Locks
	clients  map[string]*fakeClient
	told     []string
	now      time.Time
}

func (s *story) client(name string) *fakeClient {
	if s.clients[name] == nil {
		s.clients[name] = &fakeClient{name: name, told: &s.told}
	}
	return s.clients[name]
}

func (s *story) tell(byGroup map[string][]Client) {
	for group, clients := range byGroup {
		for _, c := range clients {
			c.NotifyMembersChanged(group)
		}
	}
	slices.Sort(s.told)
}

func (s *story) flush() string {
	out := strings.Join(s.told, "\n")
	s.told = nil
	if out == "" {
		return "nobody is told\n"
	}
	return out + "\n"
}

func word(d *datadriven.TestData, name string) string {
	for _, a := range d.CmdArgs {
		if a.Key == name && len(a.Vals) == 1 {
			return a.Vals[0]
		}
	}
	return ""
}

func number(t *testing.T, d *datadriven.TestData, name string) int {
	v := word(d, name)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		d.Fatalf(t, "%s: %v", name, err)
	}
	return n
}

func (s *story) beat(t *testing.T, d *datadriven.TestData) string {
	b := &Beat{
		Group: word(d, "group"), ClientID: word(d, "client"), MessageModel: "CLUSTERING",
		Fingerprint: int32(number(t, d, "fingerprint")), WithoutSub: d.HasArg("without-sub"),
	}
	for _, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
		if f := strings.Fields(line); len(f) == 3 {
			version, err := strconv.ParseInt(f[2], 10, 64)
			if err != nil {
				d.Fatalf(t, "version: %v", err)
			}
			b.Subscriptions = append(b.Subscriptions, Subscription{Topic: f[0], Expression: f[1], Version: version})
		}
	}
	notify, resend := s.registry.Beat(s.client(b.ClientID), b, s.now)
	s.tell(map[string][]Client{b.Group: notify})
	out := s.flush()
	if resend {
		out += "asked to send its subscriptions\n"
	}
	return out
}

func (s *story) queues(d *datadriven.TestData) (out []mq.Queue) {
	for _, id := range strings.Fields(d.Input) {
		n, _ := strconv.Atoi(id)
		out = append(out, mq.Queue{Broker: "b", Topic: "orders", ID: int32(n)})
	}
	return out
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	group, client := word(d, "group"), word(d, "client")
	switch d.Cmd {
	case "beat":
		return s.beat(t, d)
	case "produce":
		s.registry.BeatProducer(s.client(client), group, client, "GO", 317, s.now)
		return s.flush()
	case "leave":
		s.tell(map[string][]Client{group: s.registry.LeaveConsumers(s.client(client), group)})
		return s.flush()
	case "disconnect":
		s.tell(s.registry.Disconnect(s.client(client)))
		return s.flush()
	case "expire":
		s.tell(s.registry.Expire(s.now.Add(-120 * time.Second)))
		s.locks.Sweep(s.now)
		return s.flush()
	case "wait":
		s.now = s.now.Add(time.Duration(number(t, d, "seconds")) * time.Second)
		return ""
	case "show":
		return s.show(group)
	case "changed":
		var out strings.Builder
		for _, c := range s.registry.Changed() {
			fmt.Fprintf(&out, "%s:\n", c.Group)
			for _, w := range c.Wishes {
				fmt.Fprintf(&out, "  %s want %s\n", strings.Join(w.ClientIDs, " "), strings.Join(w.Subscriptions, ", "))
			}
		}
		return fmt.Sprintf("%s%d groups differ, %d wishes of the group\n", &out, s.registry.DifferingGroups(), len(s.registry.Differing(group)))
	case "lock":
		out := ""
		for _, q := range s.locks.Lock(group, client, s.queues(d), s.now) {
			out += fmt.Sprintln(q.ID)
		}
		return out
	case "unlock":
		s.locks.Unlock(group, client, s.queues(d))
		return ""
	case "live":
		return fmt.Sprintln(s.locks.Live(group, s.now))
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

func (s *story) show(group string) string {
	var out strings.Builder
	fmt.Fprintln(&out, "members:", strings.Join(s.registry.ClientIDs(group), " "))
	m, _ := s.registry.Consumers(group)
	for _, sub := range m.Subscriptions {
		fmt.Fprintf(&out, "wants %s of %s (%d)", sub.Expression, sub.Topic, sub.Version)
		if sub.BadFilter != nil {
			fmt.Fprintf(&out, ": %v", sub.BadFilter)
		}
		fmt.Fprintln(&out)
	}
	for _, p := range s.registry.Producers(group) {
		fmt.Fprintln(&out, "producer:", p.ClientID)
	}
	return out.String()
}

func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{
			registry: NewRegistry(func(_, expression string) (mq.Filter, error) {
				if strings.HasPrefix(expression, "bad") {
					return nil, fmt.Errorf("can't read %q", expression)
				}
				return nil, nil
			}),
			locks:   NewLocks(60 * time.Second),
			clients: map[string]*fakeClient{},
			now:     time.Unix(1_000_000, 0),
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

func TestConfigsSurviveARestart(t *testing.T) {
	fs := vfs.NewMem()
	store, err := meta.Open("meta", fs)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(store)
	if err != nil {
		t.Fatal(err)
	}
	g := Default("pay")
	g.RetryMaxTimes, g.Attributes = 3, map[string]string{"owner": "me"}
	if _, err := c.Put(g); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetOrDefault("ship"); err != nil {
		t.Fatal(err)
	}
	if had, err := c.Delete("ship"); !had || err != nil {
		t.Errorf("delete: had %v, error %v", had, err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if store, err = meta.Open("meta", fs); err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if c, err = Load(store); err != nil {
		t.Fatal(err)
	}
	all := c.All()
	if len(all) != 1 || all[0].Name != "pay" || all[0].RetryMaxTimes != 3 || all[0].Attributes["owner"] != "me" || !all[0].ConsumeEnabled {
		t.Errorf("after the restart the groups are %+v", all)
	}
}

func TestBadGroups(t *testing.T) {
	for _, g := range []Config{
		{Name: ""},
		{Name: strings.Repeat("g", MaxNameLen+1)},
		{Name: "a b"},
		{Name: "a@b"},
		{Name: "g", RetryQueues: -1},
		{Name: "g", RetryMaxTimes: -2},
	} {
		if g.Check() == nil {
			t.Errorf("group %+v is accepted", g)
		}
	}
}
