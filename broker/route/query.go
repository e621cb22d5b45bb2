package route

import (
	"cmp"
	"slices"

	"varve/internal/mq"
	"varve/internal/remoting"
)

// orderNamespace holds the queue layout of strictly ordered topics.
const orderNamespace = "ORDER_TOPIC_CONFIG"

// routeInfo: 105 GET_ROUTEINFO_BY_TOPIC. An unknown topic is code 17.
func (t *Table) routeInfo(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	p := req.Ext.Parse()
	topic, standard := p.Str("topic"), p.OptBool("acceptStandardJsonOnly")
	if err := p.Err(); err != nil {
		return nil, err
	}
	r, ok := t.Route(topic)
	if !ok {
		return nil, refuse(remoting.TopicNotExist, "No topic route info in name server for the topic: %s", topic)
	}
	order, _, err := t.kvGet(orderNamespace, topic)
	if err != nil {
		return nil, err
	}
	body := appendRoute(nil, &r, order, standard || req.Version >= version494)
	return &remoting.Command{Body: body}, nil
}

// clusterInfo: 106 GET_BROKER_CLUSTER_INFO.
func (t *Table) clusterInfo(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	body, err := appendCluster(nil, t.Brokers(), req.Version >= version494)
	if err != nil {
		return nil, err
	}
	return &remoting.Command{Body: body}, nil
}

// allTopics: 206 GET_ALL_TOPIC_LIST_FROM_NAMESERVER.
func (t *Table) allTopics(*remoting.Conn, *remoting.Command) (*remoting.Command, error) {
	return t.list(func(*group, Topic) bool { return true })
}

// clusterTopics: 224 GET_TOPICS_BY_CLUSTER.
func (t *Table) clusterTopics(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	p := req.Ext.Parse()
	cluster := p.Str("cluster")
	if err := p.Err(); err != nil {
		return nil, err
	}
	return t.list(func(g *group, _ Topic) bool { return g.members[0].Cluster == cluster })
}

// unitTopics: 311 GET_UNIT_TOPIC_LIST.
func (t *Table) unitTopics(*remoting.Conn, *remoting.Command) (*remoting.Command, error) {
	return t.list(func(_ *group, tp Topic) bool { return tp.SysFlag&sysFlagUnit != 0 })
}

// unitSubTopics: 312 GET_HAS_UNIT_SUB_TOPIC_LIST.
func (t *Table) unitSubTopics(*remoting.Conn, *remoting.Command) (*remoting.Command, error) {
	return t.list(func(_ *group, tp Topic) bool { return tp.SysFlag&sysFlagUnitSub != 0 })
}

// unitSubOnlyTopics: 313 GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST.
func (t *Table) unitSubOnlyTopics(*remoting.Conn, *remoting.Command) (*remoting.Command, error) {
	return t.list(func(_ *group, tp Topic) bool {
		return tp.SysFlag&sysFlagUnitSub != 0 && tp.SysFlag&sysFlagUnit == 0
	})
}

func (t *Table) list(keep func(*group, Topic) bool) (*remoting.Command, error) {
	names := t.names(keep)
	if names == nil {
		names = []string{}
	}
	return withJSON(topicList{TopicList: names})
}

// systemTopics: 304 GET_SYSTEM_TOPIC_LIST_FROM_NS: the clusters' and brokers'
// names, which are topics to RocketMQ's tools, and the system topics.
func (t *Table) systemTopics(*remoting.Conn, *remoting.Command) (*remoting.Command, error) {
	l := topicList{TopicList: t.names(func(_ *group, tp Topic) bool { return mq.SystemTopic(tp.Name) })}
	for _, b := range t.Brokers() {
		l.TopicList = append(l.TopicList, b.Cluster, b.Broker)
		if l.BrokerAddr == "" && len(b.Addrs) > 0 {
			l.BrokerAddr = b.Addrs[0].Addr
		}
	}
	slices.Sort(l.TopicList)
	l.TopicList = slices.Compact(l.TopicList)
	return withJSON(l)
}

// deleteTopic: 216 DELETE_TOPIC_IN_NAMESRV.
func (t *Table) deleteTopic(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	p := req.Ext.Parse()
	topic, cluster := p.Str("topic"), p.OptStr("clusterName")
	if err := p.Err(); err != nil {
		return nil, err
	}
	t.dropTopic(topic, cluster)
	return &remoting.Command{}, nil
}

// wipeWritePerm: 205 WIPE_WRITE_PERM_OF_BROKER.
func (t *Table) wipeWritePerm(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	return t.writePerm(req, true, "wipeTopicCount")
}

// addWritePerm: 327 ADD_WRITE_PERM_OF_BROKER.
func (t *Table) addWritePerm(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	return t.writePerm(req, false, "addTopicCount")
}

func (t *Table) writePerm(req *remoting.Command, wiped bool, count string) (*remoting.Command, error) {
	p := req.Ext.Parse()
	broker := p.Str("brokerName")
	if err := p.Err(); err != nil {
		return nil, err
	}
	resp := &remoting.Command{}
	resp.Ext.SetInt(count, int64(t.setWiped(broker, wiped)))
	return resp, nil
}

// brokerMembers: 901 GET_BROKER_MEMBER_GROUP: the servers of one broker group.
func (t *Table) brokerMembers(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	p := req.Ext.Parse()
	cluster, name := p.OptStr("clusterName"), p.Str("brokerName")
	if err := p.Err(); err != nil {
		return nil, err
	}
	var found BrokerAddrs
	for _, b := range t.Brokers() {
		if b.Broker == name && (cluster == "" || cluster == b.Cluster) {
			found = b
		}
	}
	body := []byte(`{"brokerMemberGroup":{"brokerAddrs":`)
	body = addrMap{found.Addrs, true}.append(body)
	body = append(body, `,"brokerName":`...)
	body = appendQuoted(body, name)
	body = append(body, `,"cluster":`...)
	body = appendQuoted(body, cmp.Or(found.Cluster, cluster))
	return &remoting.Command{Body: append(body, `}}`...)}, nil
}

// namesrvConfig: 319 GET_NAMESRV_CONFIG, as properties text.
func (t *Table) namesrvConfig(*remoting.Conn, *remoting.Command) (*remoting.Command, error) {
	return &remoting.Command{Body: []byte("enableAllTopicList=true\nenableTopicList=true\norderMessageEnable=true\n" +
		"scanNotActiveBrokerInterval=5000\n")}, nil
}
