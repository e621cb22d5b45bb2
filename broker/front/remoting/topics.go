package remoting

import (
	"varve/broker"
	"varve/broker/route"
)

// Topics shows a broker's topics to a name server: route.Table.Join and
// route.NewAnnouncer take it.
func Topics(b *broker.Broker) route.Topics { return topics{b} }

type topics struct{ broker *broker.Broker }

func (t topics) Topic(name string) (route.Topic, bool) {
	c, has := t.broker.Topic(name)
	if !has {
		return route.Topic{}, false
	}
	return routeTopic(c), true
}

func (t topics) All() []route.Topic {
	all := t.broker.Topics()
	out := make([]route.Topic, len(all))
	for i, c := range all {
		out[i] = routeTopic(c)
	}
	return out
}

func routeTopic(c *broker.Topic) route.Topic {
	return route.Topic{
		Name: c.Name, ReadQueues: c.ReadQueues, WriteQueues: c.WriteQueues, Perm: c.Perm, SysFlag: c.SysFlag,
	}
}
