package route

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"

	"varve/internal/remoting"
)

// registerBroker: 103 REGISTER_BROKER. The body is JSON; the compressed form,
// which brokers send only where compressedRegister is set, is refused.
func (t *Table) registerBroker(c *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	p := req.Ext.Parse()
	e := &member{
		Member: Member{
			Cluster:      p.Str("clusterName"),
			Broker:       p.Str("brokerName"),
			ID:           p.Int("brokerId"),
			Addr:         p.Str("brokerAddr"),
			HAAddr:       p.OptStr("haServerAddr"),
			Zone:         p.OptStr("zoneName"),
			ActingMaster: p.OptBool("enableActingMaster"),
		},
		via: c,
	}
	alive := p.OptInt("heartbeatTimeoutMillis", int64(defaultAlive/time.Millisecond))
	crc, compressed := p.OptInt("bodyCrc32", 0), p.OptBool("compressed")
	if err := p.Err(); err != nil {
		return nil, err
	}
	e.alive = min(max(time.Duration(alive)*time.Millisecond, time.Second), maxAlive)
	if compressed {
		return nil, refuse(remoting.SystemError, "compressed registration is not supported: set compressedRegister=false")
	}
	if crc != 0 && int64(crc32.ChecksumIEEE(req.Body)&0x7FFFFFFF) != crc {
		return nil, refuse(remoting.SystemError, "crc32 not match")
	}
	if err := e.readTopics(req.Body); err != nil {
		return nil, err
	}
	if !t.register(e) {
		return nil, refuse(remoting.SystemError, "broker %s with id %d: its place is taken by this process, or the table is full", e.Broker, e.ID)
	}
	return t.registered(e)
}

func (e *member) readTopics(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	var body registerBody
	if err := json.Unmarshal(raw, &body); err != nil {
		return fmt.Errorf("registration of broker %s: body: %w", e.Broker, err)
	}
	e.version = bytes.Clone(body.Wrapper.DataVersion)
	if len(body.Wrapper.TopicConfigTable) == 0 {
		return nil
	}
	set := make(topicSet, len(body.Wrapper.TopicConfigTable))
	for name, w := range body.Wrapper.TopicConfigTable {
		set[name] = Topic{Name: name, ReadQueues: w.ReadQueueNums, WriteQueues: w.WriteQueueNums, Perm: w.Perm, SysFlag: w.TopicSysFlag}
	}
	e.topics = set
	return nil
}

// registered answers with where the group's leader is, and with the order
// configuration, as brokers want it.
func (t *Table) registered(e *member) (*remoting.Command, error) {
	resp := &remoting.Command{}
	t.mu.RLock()
	leader := t.members[memberKey{e.Broker, 0}]
	t.mu.RUnlock()
	if leader != nil && e.ID != 0 {
		resp.Ext.Set("masterAddr", leader.Addr)
		resp.Ext.Set("haServerAddr", leader.HAAddr)
	}
	order, err := t.kvList(orderNamespace)
	if err != nil {
		return nil, err
	}
	if len(order) > 0 {
		if resp.Body, err = json.Marshal(kvTable{order}); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// unregisterBroker: 104 UNREGISTER_BROKER.
func (t *Table) unregisterBroker(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	p := req.Ext.Parse()
	m := Member{Cluster: p.OptStr("clusterName"), Broker: p.Str("brokerName"), ID: p.Int("brokerId"), Addr: p.Str("brokerAddr")}
	if err := p.Err(); err != nil {
		return nil, err
	}
	t.unregister(m)
	return &remoting.Command{}, nil
}

// brokerHeartbeat: 904 BROKER_HEARTBEAT.
func (t *Table) brokerHeartbeat(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	p := req.Ext.Parse()
	broker, addr := p.Str("brokerName"), p.Str("brokerAddr")
	if err := p.Err(); err != nil {
		return nil, err
	}
	t.touch(broker, addr)
	return &remoting.Command{}, nil
}

// queryDataVersion: 322 QUERY_DATA_VERSION: does a broker have to register
// anew?
func (t *Table) queryDataVersion(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	p := req.Ext.Parse()
	broker, addr := p.Str("brokerName"), p.Str("brokerAddr")
	if err := p.Err(); err != nil {
		return nil, err
	}
	t.touch(broker, addr)
	var known []byte
	t.mu.RLock()
	for _, e := range t.members {
		if e.Broker == broker && e.Addr == addr {
			known = e.version
		}
	}
	t.mu.RUnlock()
	resp := &remoting.Command{Body: known}
	resp.Ext.SetBool("changed", known == nil || !sameVersion(known, req.Body))
	return resp, nil
}

type dataVersion struct {
	StateVersion int64 `json:"stateVersion"`
	Timestamp    int64 `json:"timestamp"`
	Counter      int64 `json:"counter"`
}

func sameVersion(a, b []byte) bool {
	var va, vb dataVersion
	return json.Unmarshal(a, &va) == nil && json.Unmarshal(b, &vb) == nil && va == vb
}
