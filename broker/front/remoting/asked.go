package remoting

import (
	"context"
	"fmt"
	"time"

	"varve/broker"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// consumeResults are the verdicts as RocketMQ's tools name them.
var consumeResults = map[broker.Verdict]string{
	broker.VerdictConsumed: "CR_SUCCESS", broker.VerdictLater: "CR_LATER", broker.VerdictCorrupted: "CR_RETURN_NULL",
}

// consumedDirectly is the answer to 309.
type consumedDirectly struct {
	Order      bool   `json:"order"`
	AutoCommit bool   `json:"autoCommit"`
	Result     string `json:"consumeResult"`
	Remark     string `json:"remark"`
	Millis     int64  `json:"spentTimeMills"`
}

// runningInfo is the answer to 307 of a client of another protocol.
type runningInfo struct {
	Properties    map[string]string `json:"properties"`
	Subscriptions []struct{}        `json:"subscriptionSet"`
	Queues        struct{}          `json:"mqTable"`
	PopQueues     struct{}          `json:"mqPopTable"`
	Status        struct{}          `json:"statusTable"`
	Stack         string            `json:"jstack,omitempty"`
}

// askOther has a client of another protocol answer what is relayed to those of
// this one.
func (f *Front) askOther(ctx context.Context, c broker.Client, req *wire.Command, rec mq.Record) (*wire.Command, error) {
	asked, can := c.(broker.AskedClient)
	if !can {
		return nil, refused(wire.ConsumerNotOnline, "client %s of group %s can't be asked", req.Ext.Get("clientId"), req.Ext.Get("consumerGroup"))
	}
	if req.Code == wire.GetConsumerRunningInfo {
		info := runningInfo{Subscriptions: []struct{}{}, Properties: map[string]string{
			"PROP_CONSUME_TYPE": "CONSUME_POP", "PROP_CONSUMER_START_TIMESTAMP": "0", "PROP_CONSUMEORDERLY": "false",
		}}
		if req.Ext.Get("jstackEnable") == "true" {
			var err error
			if info.Stack, err = asked.StackTrace(ctx); err != nil {
				return nil, fmt.Errorf("stack trace: %w", err)
			}
		}
		return withJSON(info)
	}
	began := time.Now()
	verdict, err := asked.VerifyMessage(ctx, rec)
	if err != nil {
		return nil, fmt.Errorf("consume directly: %w", err)
	}
	if verdict == broker.VerdictNone {
		return nil, refused(wire.NoPermission, "the client consumes in order and takes no message out of turn")
	}
	return withJSON(consumedDirectly{AutoCommit: true, Result: consumeResults[verdict], Remark: "from gRPC client", Millis: time.Since(began).Milliseconds()})
}
