package app

import (
	"context"
	"errors"
	"sort"
	"strconv"
	"strings"
	"time"

	"varve/broker"
	"varve/internal/admin"
)

// groupAPI implements admin.Groups.
type groupAPI struct{ n *Node }

func (a groupAPI) Groups(ctx context.Context) ([]admin.Group, error) {
	out := []admin.Group{}
	for _, g := range a.n.broker.Groups() {
		d, err := a.Group(ctx, g.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, d.Group)
	}
	return out, nil
}

func (a groupAPI) Group(ctx context.Context, name string) (admin.GroupDetail, error) {
	if _, ok := a.n.broker.Group(name); !ok {
		return admin.GroupDetail{}, admin.NotFound("group %q does not exist", name)
	}
	d := admin.GroupDetail{Group: admin.Group{Name: name, Topics: a.n.broker.TopicsOfGroup(name)}, ClientIDs: []string{}, Offsets: []admin.GroupOffset{}}
	members, err := a.n.broker.Consumers(name)
	switch {
	case err == nil:
		d.Model = members.MessageModel
		for _, m := range members.Members {
			d.ClientIDs = append(d.ClientIDs, m.ClientID)
		}
		d.Clients = len(d.ClientIDs)
		for _, w := range a.n.broker.Differing(name) {
			d.Differing = append(d.Differing, admin.Wish(w))
		}
	case !errors.Is(err, broker.ErrNoMember):
		return d, brokerError(err)
	}
	stats, err := a.n.broker.ConsumeStats(ctx, name, "")
	if err != nil {
		return d, brokerError(err)
	}
	for _, s := range stats {
		o := admin.GroupOffset{
			Topic: s.Queue.Topic, Broker: s.Queue.Broker, Queue: s.Queue.ID, Offset: s.ConsumerOffset, Max: s.BrokerOffset,
		}
		o.Lag = max(0, o.Max-max(o.Offset, 0))
		d.Lag += o.Lag
		d.Offsets = append(d.Offsets, o)
	}
	return d, nil
}

func (a groupAPI) ResetGroup(ctx context.Context, name string, r admin.Reset) ([]admin.GroupOffset, error) {
	req := broker.ResetRequest{Group: name, Topic: r.Topic, QueueID: broker.AnyQueue, Offset: -1}
	if r.Queue != nil {
		req.QueueID = *r.Queue
	}
	switch {
	case r.To == "earliest":
		req.TimeMillis = 0
	case r.To == "latest":
		req.TimeMillis = -1
	case strings.HasPrefix(r.To, "offset:"):
		off, err := strconv.ParseInt(r.To[len("offset:"):], 10, 64)
		if err != nil || off < 0 || r.Queue == nil {
			return nil, admin.BadRequest("to: offset:N needs a number from 0 on, and a queue")
		}
		req.Offset = off
	default:
		t, err := admin.ParseTime(r.To, time.Now())
		if err != nil {
			return nil, admin.BadRequest("to: %v", err)
		}
		req.TimeMillis = t.UnixMilli()
	}
	moved, err := a.n.broker.ResetOffset(ctx, &req)
	if err != nil {
		return nil, brokerError(err)
	}
	out := []admin.GroupOffset{}
	for q, off := range moved {
		o := admin.GroupOffset{Topic: q.Topic, Broker: q.Broker, Queue: q.ID, Offset: off}
		if rng, err := a.n.broker.QueueRange(ctx, q.Topic, q.ID); err == nil {
			o.Max, o.Lag = rng.To, max(0, rng.To-off)
		}
		out = append(out, o)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Queue < out[j].Queue })
	return out, nil
}

func (a groupAPI) DeleteGroup(_ context.Context, name string) error {
	return brokerError(a.n.broker.DeleteGroup(name, true))
}
