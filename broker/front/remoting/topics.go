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
	if c, has := t.broker.Topic(name); has {
		return routeTopic(c), true
	}
	if c, is := t.broker.BuiltInTopic(name); is {
		return routeTopic(c), true
	}
	return route.Topic{}, false
}

func (t topics) All() []route.Topic {
	all, builtIn := t.broker.Topics(), t.broker.BuiltIn()
	out := make([]route.Topic, 0, len(all)+len(builtIn))
	for _, c := range all {
		out = append(out, routeTopic(c))
	}
	for _, c := range builtIn {
		if _, has := t.broker.Topic(c.Name); !has {
			out = append(out, routeTopic(c))
		}
	}
	return out
}

func routeTopic(c *broker.Topic) route.Topic {
	return route.Topic{
		Name: c.Name, ReadQueues: c.ReadQueues, WriteQueues: c.WriteQueues, Perm: c.Perm, SysFlag: c.SysFlag,
	}
}
