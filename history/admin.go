package history

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"varve/internal/remoting"
)

// What RocketMQ's tools ask of every member of a broker group.

// runtimeInfo: 28 GET_BROKER_RUNTIME_INFO. A node takes no messages, so the
// figures of writing are zero.
func (s *Server) runtimeInfo(context.Context, *remoting.Command) (*remoting.Command, error) {
	const none = "0.0 0.0 0.0"
	table := map[string]string{
		"brokerVersion": fmt.Sprint(remoting.Version), "brokerVersionDesc": "varve-history", "brokerActive": "true",
		"putTps": none, "getTransferedTps": none, "getTransferredTps": none, "getTotalTps": none,
		"commitLogDiskRatio": "0", "bootTimestamp": fmt.Sprint(s.started.UnixMilli()),
	}
	for _, name := range []string{
		"msgPutTotalYesterdayMorning", "msgPutTotalTodayMorning", "msgPutTotalTodayNow",
		"msgGetTotalYesterdayMorning", "msgGetTotalTodayMorning", "msgGetTotalTodayNow",
		"sendThreadPoolQueueSize", "sendThreadPoolQueueHeadWaitTimeMills",
		"pullThreadPoolQueueSize", "pullThreadPoolQueueHeadWaitTimeMills", "pageCacheLockTimeMills",
	} {
		table[name] = "0"
	}
	body, err := json.Marshal(map[string]any{"table": table})
	return &remoting.Command{Body: body}, err
}

// config: 26 GET_BROKER_CONFIG.
func (s *Server) config(context.Context, *remoting.Command) (*remoting.Command, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "brokerName=%s\nbrokerId=%d\nbrokerRole=SLAVE\n", s.cfg.Broker, s.cfg.BrokerID)
	return &remoting.Command{Body: []byte(b.String())}, nil
}

// deleteTopic: 215 DELETE_TOPIC_IN_BROKER. The leader ends the topic; its
// archive stays until retention takes it, so there is nothing to do here, and
// tools that ask every member must not fail.
func (s *Server) deleteTopic(context.Context, *remoting.Command) (*remoting.Command, error) {
	return &remoting.Command{}, nil
}

// changeAccess: 3001 to 3003 and 3006 to 3008, changes of users and policies.
// Tools send them to every member of a broker group, one after the other, and
// stop at the first that fails. Users that the leader keeps for this process are
// the leader's to change, once; a node with users of its own has to be told of
// in another way.
func (s *Server) changeAccess(_ context.Context, req *remoting.Command) (*remoting.Command, error) {
	if s.cfg.SharesUsers {
		return &remoting.Command{}, nil
	}
	return nil, &refused{remoting.RequestCodeNotSupported, fmt.Sprintf(
		"request %d: this history node has users and policies of its own; change them by its HTTP API: varve user, varve acl with --server", req.Code)}
}
