package route

import (
	"encoding/json"
	"strconv"
)

// version494 is where Apache's clients began to want standard JSON
// (MQVersion V4_9_4). Older ones get fastjson's form with integer keys that
// are not quoted.
const version494 = 401

// addrMap is brokerAddrs: addresses by id, the ids quoted or not.
type addrMap struct {
	addrs  []IDAddr
	quoted bool
}

func (m addrMap) append(dst []byte) []byte {
	dst = append(dst, '{')
	for i, a := range m.addrs {
		if i > 0 {
			dst = append(dst, ',')
		}
		if m.quoted {
			dst = append(dst, '"')
		}
		dst = strconv.AppendInt(dst, a.ID, 10)
		if m.quoted {
			dst = append(dst, '"')
		}
		dst = append(dst, ':')
		dst = appendQuoted(dst, a.Addr)
	}
	return append(dst, '}')
}

func appendQuoted(dst []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil { // a string always has a JSON form
		return append(dst, `""`...)
	}
	return append(dst, q...)
}

func (b *BrokerAddrs) append(dst []byte, quoted bool) []byte {
	dst = append(dst, `{"brokerAddrs":`...)
	dst = addrMap{b.Addrs, quoted}.append(dst)
	dst = append(dst, `,"brokerName":`...)
	dst = appendQuoted(dst, b.Broker)
	dst = append(dst, `,"cluster":`...)
	dst = appendQuoted(dst, b.Cluster)
	dst = append(dst, `,"enableActingMaster":`...)
	dst = strconv.AppendBool(dst, b.ActingMaster)
	if b.Zone != "" {
		dst = append(dst, `,"zoneName":`...)
		dst = appendQuoted(dst, b.Zone)
	}
	return append(dst, '}')
}

// appendRoute writes TopicRouteData.
func appendRoute(dst []byte, r *Route, orderConf string, quoted bool) []byte {
	dst = append(dst, `{"brokerDatas":[`...)
	for i := range r.Brokers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = r.Brokers[i].append(dst, quoted)
	}
	dst = append(dst, `],"filterServerTable":{},`...)
	if orderConf != "" {
		dst = append(dst, `"orderTopicConf":`...)
		dst = appendQuoted(dst, orderConf)
		dst = append(dst, ',')
	}
	dst = append(dst, `"queueDatas":[`...)
	for i := range r.Queues {
		q := &r.Queues[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"brokerName":`...)
		dst = appendQuoted(dst, q.Broker)
		for _, f := range [...]struct {
			name string
			v    int32
		}{
			{"perm", q.Perm},
			{"readQueueNums", q.ReadQueues},
			{"topicSysFlag", q.SysFlag},
			{"writeQueueNums", q.WriteQueues},
		} {
			dst = append(dst, ',')
			dst = appendQuoted(dst, f.name)
			dst = append(dst, ':')
			dst = strconv.AppendInt(dst, int64(f.v), 10)
		}
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}

// appendCluster writes ClusterInfo.
func appendCluster(dst []byte, brokers []BrokerAddrs, quoted bool) ([]byte, error) {
	clusters := make(map[string][]string)
	dst = append(dst, `{"brokerAddrTable":{`...)
	for i := range brokers {
		b := &brokers[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, b.Broker)
		dst = append(dst, ':')
		dst = b.append(dst, quoted)
		clusters[b.Cluster] = append(clusters[b.Cluster], b.Broker)
	}
	dst = append(dst, `},"clusterAddrTable":`...)
	table, err := json.Marshal(clusters)
	if err != nil {
		return nil, err
	}
	dst = append(dst, table...)
	return append(dst, '}'), nil
}

// topicList is the body of every list of topics.
type topicList struct {
	BrokerAddr string   `json:"brokerAddr,omitempty"`
	TopicList  []string `json:"topicList"`
}

// registerBody is what a broker registers with (RegisterBrokerBody).
type registerBody struct {
	FilterServerList []string    `json:"filterServerList"`
	Wrapper          wireWrapper `json:"topicConfigSerializeWrapper"`
}

type wireWrapper struct {
	DataVersion      json.RawMessage      `json:"dataVersion"`
	TopicConfigTable map[string]wireTopic `json:"topicConfigTable"`
}

type wireTopic struct {
	TopicName       string `json:"topicName"`
	ReadQueueNums   int32  `json:"readQueueNums"`
	WriteQueueNums  int32  `json:"writeQueueNums"`
	Perm            int32  `json:"perm"`
	TopicFilterType string `json:"topicFilterType"`
	TopicSysFlag    int32  `json:"topicSysFlag"`
	Order           bool   `json:"order"`
}
