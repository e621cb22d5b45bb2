package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"varve/broker/group"
	"varve/broker/topic"
	"varve/internal/mq"
)

// Heartbeat takes a client's word on the groups it is in. resend asks for the
// subscriptions that a V2 heartbeat left out. Groups that don't exist and may
// not be created are passed over, as RocketMQ does: a heartbeat never fails for
// one group's sake.
func (b *Broker) Heartbeat(c Client, hb *Heartbeat) (resend bool, err error) {
	if b.closed.Load() {
		return false, ErrClosed
	}
	if hb.ClientID == "" {
		return false, fmt.Errorf("%w: heartbeat without a client id", ErrBadRequest)
	}
	if err := b.joinQuota(c, hb); err != nil {
		return false, err
	}
	now := b.now()
	for i := range hb.Consumers {
		beat := &hb.Consumers[i]
		beat.ClientID, beat.Language, beat.Version = hb.ClientID, hb.Language, hb.Version
		beat.Fingerprint, beat.WithoutSub = hb.Fingerprint, hb.WithoutSub
		g, gerr := b.groupFor(beat.Group)
		if gerr != nil {
			b.logger.Warn("heartbeat of a group refused", "group", beat.Group, "client", hb.ClientID, "error", gerr)
			continue
		}
		if err := b.ensureRetryTopic(g, beat.Unit); err != nil {
			return false, err
		}
		notify, again := b.clients.Beat(c, beat, now)
		resend = resend || again
		if g.NotifyMembers {
			tell(beat.Group, notify)
		}
	}
	b.tellDiffering()
	for _, p := range hb.Producers {
		b.clients.BeatProducer(c, p, hb.ClientID, hb.Language, hb.Version, now)
	}
	return resend, nil
}

// joinQuota counts a client's connection for the tenant of its first group.
func (b *Broker) joinQuota(c Client, hb *Heartbeat) error {
	conn := hb.Connection
	if conn == nil {
		conn = c
	}
	switch {
	case len(hb.Consumers) > 0:
		return b.Use(conn, hb.Consumers[0].Group)
	case len(hb.Producers) > 0:
		return b.Use(conn, hb.Producers[0])
	}
	return nil
}

func tell(group string, clients []Client) {
	for _, c := range clients {
		c.NotifyMembersChanged(group)
	}
}

// ensureRetryTopic creates the topic of a group's retries.
func (b *Broker) ensureRetryTopic(g *Group, unit bool) error {
	if g.RetryQueues == 0 {
		return nil
	}
	_, err := b.topics.KeepIfAbsent(Topic{
		Name: mq.RetryTopic(g.Name), ReadQueues: g.RetryQueues, WriteQueues: g.RetryQueues,
		Perm: topic.PermRead | topic.PermWrite, SysFlag: topic.SysFlag(false, unit),
	})
	if err != nil {
		return storeError(err)
	}
	return nil
}

// groupFor finds a consumer group's settings, and creates them where that is
// allowed.
func (b *Broker) groupFor(name string) (*Group, error) {
	if g, ok := b.groups.Get(name); ok {
		return g, nil
	}
	if !b.live.Load().AutoCreateGroups && !toolGroup(name) {
		return nil, fmt.Errorf("%w: %q", ErrNoGroup, name)
	}
	if err := group.CheckName(name); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	g, err := b.groups.GetOrDefault(name)
	if err != nil {
		return nil, storeError(err)
	}
	return g, nil
}

// toolGroup reports whether a group is one of RocketMQ's own tools', which
// needn't be created by anybody.
func toolGroup(name string) bool {
	return name == "TOOLS_CONSUMER" || name == "SELF_TEST_C_GROUP" || strings.HasPrefix(name, "CID_RMQ_SYS_")
}

// Unregister takes a client out of a producer group and a consumer group;
// either may be empty.
func (b *Broker) Unregister(c Client, producerGroup, consumerGroup string) {
	if producerGroup != "" {
		b.clients.LeaveProducers(c, producerGroup)
	}
	if consumerGroup == "" {
		return
	}
	notify := b.clients.LeaveConsumers(c, consumerGroup)
	b.tellDiffering()
	if b.notifies(consumerGroup) {
		tell(consumerGroup, notify)
	}
}

func (b *Broker) notifies(name string) bool {
	g, ok := b.groups.Get(name)
	return !ok || g.NotifyMembers
}

// Disconnect takes a client out of all groups, when its connection has ended.
func (b *Broker) Disconnect(c Client) {
	b.quotas.Leave(c)
	for name, notify := range b.clients.Disconnect(c) {
		if b.notifies(name) {
			tell(name, notify)
		}
	}
	b.tellDiffering()
}

// tellDiffering logs the groups whose members began or ceased to differ in what
// they subscribe to.
func (b *Broker) tellDiffering() {
	for _, d := range b.clients.Changed() {
		if len(d.Wishes) < 2 {
			b.logger.Info("members of a group agree again in what they subscribe to", "group", d.Group)
			continue
		}
		var who []string
		for _, w := range d.Wishes[:min(len(d.Wishes), maxWishesTold)] {
			who = append(who, fmt.Sprintf("%s of %s", strings.Join(w.Subscriptions, ", "), w.ClientIDs[0]))
		}
		b.logger.Warn("members of a group subscribe to different things: messages will miss members that want them",
			"group", d.Group, "ways", len(d.Wishes), "such_as", who)
	}
}

// maxWishesTold bounds a line of the log.
const maxWishesTold = 4

func (b *Broker) expireClients() {
	now := b.now()
	for name, notify := range b.clients.Expire(now.Add(-b.cfg.ClientExpiry)) {
		if b.notifies(name) {
			tell(name, notify)
		}
	}
	b.tellDiffering()
	b.locks.Sweep(now)
}

// ConsumerIDs gives the ids of a group's members, sorted: ErrNoMember where it
// has none.
func (b *Broker) ConsumerIDs(name string) ([]string, error) {
	ids := b.clients.ClientIDs(name)
	if len(ids) == 0 {
		return nil, fmt.Errorf("%w: group %q", ErrNoMember, name)
	}
	return ids, nil
}

// Consumers gives a consumer group as it is now: ErrNoMember where nobody is
// connected.
func (b *Broker) Consumers(name string) (Members, error) {
	m, ok := b.clients.Consumers(name)
	if !ok {
		return Members{}, fmt.Errorf("%w: group %q", ErrNoMember, name)
	}
	return m, nil
}

// Differing gives what a group's members subscribe to where they differ, nil
// where they agree.
func (b *Broker) Differing(name string) []Wish { return b.clients.Differing(name) }

// Producers gives the clients of a producer group: ErrNoMember where nobody is
// connected.
func (b *Broker) Producers(name string) ([]Member, error) {
	m := b.clients.Producers(name)
	if len(m) == 0 {
		return nil, fmt.Errorf("%w: producer group %q", ErrNoMember, name)
	}
	return m, nil
}

// ProducerGroups gives the producer groups that have clients, sorted.
func (b *Broker) ProducerGroups() []string { return b.clients.ProducerGroups() }

// FindConsumer gives the connection of a group's member, to relay a request to
// it: ErrNoMember where it isn't connected.
func (b *Broker) FindConsumer(name, clientID string) (Client, error) {
	c, ok := b.clients.Find(name, clientID)
	if !ok {
		return nil, fmt.Errorf("%w: client %q in group %q", ErrNoMember, clientID, name)
	}
	return c, nil
}

// SubscriptionOf gives what a group's members want of a topic, ErrNoSubscription
// where that is not known.
func (b *Broker) SubscriptionOf(name, topicName string) (*Subscription, error) {
	s, _, _ := b.clients.Subscription(name, topicName)
	if s == nil {
		return nil, fmt.Errorf("%w: group %q, topic %q", ErrNoSubscription, name, topicName)
	}
	return s, nil
}

// GroupsOfTopic gives the groups that consume a topic now or have progress in
// it, sorted.
func (b *Broker) GroupsOfTopic(topicName string) []string {
	return union(b.clients.SubscribedBy(topicName), b.offsets.Groups(topicName))
}

// TopicsOfGroup gives the topics that a group consumes now or has progress in,
// sorted.
func (b *Broker) TopicsOfGroup(name string) []string {
	var now []string
	if m, ok := b.clients.Consumers(name); ok {
		for _, s := range m.Subscriptions {
			now = append(now, s.Topic)
		}
	}
	return union(now, b.offsets.Topics(name))
}

func union(a, c []string) []string {
	set := map[string]struct{}{}
	for _, s := range slices.Concat(a, c) {
		set[s] = struct{}{}
	}
	return slices.Sorted(maps.Keys(set))
}

// CheckFilter reports why an expression is no filter: ErrBadFilter.
func (b *Broker) CheckFilter(typ, expression string) error {
	if _, err := b.filters.Compile(typ, expression); err != nil {
		return fmt.Errorf("%w: %w", ErrBadFilter, err)
	}
	return nil
}

// LockQueues gives a client the queues to consume in order, for one lease, and
// reports which it holds.
func (b *Broker) LockQueues(name, clientID string, queues []mq.Queue) []mq.Queue {
	return b.locks.Lock(name, clientID, queues, b.now())
}

// UnlockQueues ends a client's leases.
func (b *Broker) UnlockQueues(name, clientID string, queues []mq.Queue) {
	b.locks.Unlock(name, clientID, queues)
}

// DefaultGroup is the settings that a consumer group gets when it is first
// heard of.
func DefaultGroup(name string) Group { return group.Default(name) }
