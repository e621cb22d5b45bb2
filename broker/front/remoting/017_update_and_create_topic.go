package remoting

import (
	"fmt"
	"strings"

	"varve/broker"
	wire "varve/internal/remoting"
)

// 17 UPDATE_AND_CREATE_TOPIC: create a topic or replace its settings.
//
// Versions: all; attributes ("+name=value,-name") came with 5.0.
//
// Behaviours: the route shows it at once. Attributes that the request doesn't
// name stay.
func (f *Front) updateAndCreateTopic(_ *session, req *wire.Command) (*wire.Command, error) {
	p := req.Ext.Parse()
	t := broker.Topic{
		Name:        p.Str("topic"),
		ReadQueues:  p.Int32("readQueueNums"),
		WriteQueues: p.Int32("writeQueueNums"),
		Perm:        p.Int32("perm"),
		FilterType:  p.OptStr("topicFilterType"),
		SysFlag:     p.OptInt32("topicSysFlag", 0),
		Order:       p.OptBool("order"),
	}
	changes := p.OptStr("attributes")
	if err := p.Err(); err != nil {
		return nil, err
	}
	if err := f.putTopic(t, changes); err != nil {
		return nil, err
	}
	return ok()
}

func (f *Front) putTopic(t broker.Topic, changes string) error {
	attrs := map[string]string{}
	if old, has := f.broker.Topic(t.Name); has {
		for k, v := range old.Attributes {
			attrs[k] = v
		}
	}
	if err := changeAttributes(attrs, changes); err != nil {
		return fmt.Errorf("%w: topic %q: %w", broker.ErrBadRequest, t.Name, err)
	}
	t.Attributes = attrs
	return f.broker.PutTopic(t)
}

// changeAttributes applies "+name=value,-name".
func changeAttributes(attrs map[string]string, changes string) error {
	for c := range strings.SplitSeq(changes, ",") {
		c = strings.TrimSpace(c)
		if c == "" {
			continue
		}
		name, value, has := strings.Cut(c[1:], "=")
		switch {
		case c[0] == '+' && has && name != "":
			attrs[name] = value
		case c[0] == '-' && !has && name != "":
			delete(attrs, name)
		default:
			return fmt.Errorf("attribute change %q, want +name=value or -name", c)
		}
	}
	return nil
}
