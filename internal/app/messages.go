package app

import (
	"context"
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"varve/broker"
	"varve/broker/filter"
	"varve/internal/admin"
	"varve/internal/mq"
)

// Limits of one look at messages: an answer stays small enough to hold.
const (
	pageBytes = 8 << 20
	pageScan  = 200_000
)

// messageAPI implements admin.Messages over every tier.
type messageAPI struct{ n *Node }

// shown is a record as the API shows it.
func shown(broker string, r mq.Record) (admin.Message, error) {
	m, err := r.Decode()
	if err != nil {
		return admin.Message{}, err
	}
	out := admin.Message{
		Topic: m.Topic, Broker: broker, Queue: m.QueueID, Offset: m.QueueOffset,
		MsgID: m.Property(mq.PropUniqKey), OffsetMsgID: mq.OffsetMsgID(m.StoreHost, m.PhysicalOffset),
		Tag: m.Tag(), Keys: mq.Keys(m.Properties), StoreTime: millis(m.StoreTimeMillis), BornTime: millis(m.BornTimeMillis),
		BornHost: m.BornHost.String(), StoreHost: m.StoreHost.String(), ReconsumeTimes: m.ReconsumeTimes, Flag: m.Flag,
		SysFlag: m.SysFlag, PhysicalOffset: m.PhysicalOffset, Properties: map[string]string{}, BodyBytes: len(m.Body),
	}
	for k, v := range mq.Properties(m.Properties) {
		out.Properties[k] = v
	}
	if utf8.Valid(m.Body) {
		out.Body = string(m.Body)
	} else {
		out.BodyBase64 = base64.StdEncoding.EncodeToString(m.Body)
	}
	return out, nil
}

func shownAll(broker string, body []byte) ([]admin.Message, error) {
	out := []admin.Message{}
	for r := range mq.Records(body) {
		m, err := shown(broker, r)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func (a messageAPI) MessageByID(ctx context.Context, topic, id string) (admin.Message, error) {
	if topic == "" {
		_, pos, err := mq.ParseOffsetMsgID(id)
		if err != nil {
			return admin.Message{}, admin.BadRequest("id: %q is no offset message id; a client's message id needs its topic as well", id)
		}
		r, err := a.n.finder.FindPhysical(ctx, a.n.cfg.Broker.Name, pos)
		if errors.Is(err, mq.ErrNotFound) {
			return admin.Message{}, admin.NotFound("no message has the offset message id %q; a client's message id needs its topic as well", id)
		}
		if err != nil {
			return admin.Message{}, brokerError(err)
		}
		return shown(a.n.cfg.Broker.Name, r)
	}
	b, err := a.n.finder.FindKey(ctx, mq.KeyQuery{Topic: topic, Key: id, Unique: true, Max: 1})
	if err != nil {
		return admin.Message{}, brokerError(err)
	}
	list, err := shownAll(a.n.cfg.Broker.Name, b.Body)
	if err != nil {
		return admin.Message{}, err
	}
	if len(list) > 0 {
		return list[0], nil
	}
	if _, pos, err := mq.ParseOffsetMsgID(id); err == nil {
		r, err := a.n.finder.FindPhysical(ctx, a.n.cfg.Broker.Name, pos)
		if err == nil && string(r.Topic()) == topic {
			return shown(a.n.cfg.Broker.Name, r)
		}
		if err != nil && !errors.Is(err, mq.ErrNotFound) {
			return admin.Message{}, brokerError(err)
		}
	}
	return admin.Message{}, admin.NotFound("topic %q has no message with id %q", topic, id)
}

func (a messageAPI) MessagesByKey(ctx context.Context, s admin.KeySearch) ([]admin.Message, error) {
	k := mq.KeyQuery{Topic: s.Topic, Key: s.Key, Unique: s.Unique, Max: s.Max}
	if !s.From.IsZero() {
		k.FromMillis = s.From.UnixMilli()
	}
	if !s.To.IsZero() {
		k.ToMillis = s.To.UnixMilli()
	}
	b, err := a.n.finder.FindKey(ctx, k)
	if err != nil {
		return nil, brokerError(err)
	}
	return shownAll(a.n.cfg.Broker.Name, b.Body)
}

func (a messageAPI) ReadMessages(ctx context.Context, s admin.Stretch) (admin.Page, error) {
	q := mq.Queue{Broker: s.Broker, Topic: s.Topic, ID: s.Queue}
	if q.Broker == "" {
		q.Broker = a.n.cfg.Broker.Name
	}
	f, err := compile(s.Tags, s.SQL)
	if err != nil {
		return admin.Page{}, err
	}
	at := s.Offset
	if at < 0 {
		at, err = a.start(ctx, q, s.From)
		if err != nil {
			return admin.Page{}, a.queueError(err, q)
		}
	}
	p := admin.Page{Messages: []admin.Message{}, Next: at}
	for bytes, scanned := 0, int64(0); len(p.Messages) < s.Max && bytes < pageBytes && scanned < pageScan; {
		b, err := a.n.reader.Read(ctx, q, p.Next, mq.Limit{Messages: s.Max - len(p.Messages), Bytes: pageBytes - bytes, Filter: f})
		if err != nil {
			return p, a.queueError(err, q)
		}
		p.Min, p.Max = b.Range.From, b.Range.To
		list, err := shownAll(q.Broker, b.Body)
		if err != nil {
			return p, err
		}
		p.Messages = append(p.Messages, list...)
		if b.Next == p.Next {
			break
		}
		scanned, bytes, p.Next = scanned+b.Next-p.Next, bytes+len(b.Body), b.Next
	}
	return p, nil
}

func (a messageAPI) start(ctx context.Context, q mq.Queue, from time.Time) (int64, error) {
	if from.IsZero() {
		r, err := a.n.reader.Range(ctx, q)
		return r.From, err
	}
	return a.n.reader.OffsetAt(ctx, q, from.UnixMilli(), mq.Lower)
}

// queueError says of an unknown queue whether the topic is there at all.
func (a messageAPI) queueError(err error, q mq.Queue) error {
	if errors.Is(err, mq.ErrNoQueue) {
		if a.n.broker != nil && q.Broker == a.n.cfg.Broker.Name {
			if t, ok := a.n.broker.Topic(q.Topic); ok && q.ID < t.Queues() {
				return admin.NotFound("queue %s has never had a message", q)
			}
		}
		return admin.NotFound("no queue %s", q)
	}
	return brokerError(err)
}

// compile makes one filter of a tag and a property expression.
func compile(tags, sql string) (mq.Filter, error) {
	typ, expr := filter.Tag, tags
	switch {
	case tags != "" && sql != "":
		return nil, admin.BadRequest("tags and a property expression: give one of them (TAGS is a property too)")
	case sql != "":
		typ, expr = filter.SQL92, sql
	}
	f, err := filter.Compile(typ, expr)
	if err != nil {
		return nil, admin.BadRequest("filter %q: %v", expr, err)
	}
	return f, nil
}

func (a messageAPI) SendMessage(ctx context.Context, m admin.Outgoing) (admin.Sent, error) {
	req, err := a.outgoing(m)
	if err != nil {
		return admin.Sent{}, err
	}
	got, err := a.n.broker.Send(ctx, req)
	if err != nil {
		return admin.Sent{}, brokerError(err)
	}
	r := got[0]
	return admin.Sent{MsgID: r.MsgID, OffsetMsgID: r.OffsetMsgID(), Broker: r.Queue.Broker, Queue: r.Queue.ID, Offset: r.QueueOffset, RecallHandle: r.RecallHandle}, nil
}

func (a messageAPI) outgoing(m admin.Outgoing) (*broker.SendRequest, error) {
	body := []byte(m.Body)
	if m.BodyBase64 != "" {
		var err error
		if body, err = base64.StdEncoding.DecodeString(m.BodyBase64); err != nil {
			return nil, admin.BadRequest("body_base64: %v", err)
		}
	}
	var props []byte
	set := func(name, value string) error {
		if err := mq.CheckProperty(name, value); err != nil {
			return admin.BadRequest("%v", err)
		}
		props = mq.AppendProperty(props, name, value)
		return nil
	}
	if m.Tag != "" {
		if err := set(mq.PropTags, m.Tag); err != nil {
			return nil, err
		}
	}
	if len(m.Keys) > 0 {
		if err := set(mq.PropKeys, strings.Join(m.Keys, " ")); err != nil {
			return nil, err
		}
	}
	names := make([]string, 0, len(m.Properties))
	for k := range m.Properties {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		if err := set(k, m.Properties[k]); err != nil {
			return nil, err
		}
	}
	req := &broker.SendRequest{
		Group: "varve-admin", DefaultTopic: mq.AutoTopic, DefaultQueues: int32(a.n.cfg.Broker.DefaultQueues), MaxReconsumeTimes: -1,
		Message: mq.Message{
			Topic: m.Topic, QueueID: broker.AnyQueue, Body: body, Properties: props, BornTimeMillis: time.Now().UnixMilli(),
			BornHost: netip.AddrPortFrom(a.n.advertise.Addr(), 0),
		},
	}
	if m.Queue != nil {
		req.Message.QueueID = *m.Queue
	}
	return req, nil
}
