package route

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"varve/internal/remoting"
)

// handlers is one function for each request code that the name server takes.
var handlers = map[int]func(*Table, *remoting.Conn, *remoting.Command) (*remoting.Command, error){
	remoting.PutKVConfig:               (*Table).putKV,
	remoting.GetKVConfig:               (*Table).getKV,
	remoting.DeleteKVConfig:            (*Table).deleteKV,
	remoting.RegisterBroker:            (*Table).registerBroker,
	remoting.UnregisterBroker:          (*Table).unregisterBroker,
	remoting.GetRouteInfoByTopic:       (*Table).routeInfo,
	remoting.GetBrokerClusterInfo:      (*Table).clusterInfo,
	remoting.WipeWritePermOfBroker:     (*Table).wipeWritePerm,
	remoting.GetAllTopicListFromNS:     (*Table).allTopics,
	remoting.DeleteTopicInNS:           (*Table).deleteTopic,
	remoting.GetKVListByNamespace:      (*Table).listKV,
	remoting.GetTopicsByCluster:        (*Table).clusterTopics,
	remoting.GetSystemTopicListFromNS:  (*Table).systemTopics,
	remoting.GetUnitTopicList:          (*Table).unitTopics,
	remoting.GetHasUnitSubTopicList:    (*Table).unitSubTopics,
	remoting.GetHasUnitSubUnunitTopics: (*Table).unitSubOnlyTopics,
	remoting.GetNamesrvConfig:          (*Table).namesrvConfig,
	remoting.QueryDataVersion:          (*Table).queryDataVersion,
	remoting.AddWritePermOfBroker:      (*Table).addWritePerm,
	remoting.GetBrokerMemberGroup:      (*Table).brokerMembers,
	remoting.BrokerHeartbeat:           (*Table).brokerHeartbeat,
}

// codeError is an answer other than success.
type codeError struct {
	code   int
	remark string
}

func (e *codeError) Error() string { return e.remark }

func refuse(code int, format string, args ...any) error {
	return &codeError{code, fmt.Sprintf(format, args...)}
}

// Serve answers one request. It is the remoting.Handler of the name server's
// port; ConnectionEnded belongs in the same server's Config.OnClose.
func (t *Table) Serve(c *remoting.Conn, req *remoting.Command) {
	h := handlers[req.Code]
	if h == nil {
		c.ReplyError(req.From(), remoting.RequestCodeNotSupported, remoting.NotSupported(req.Code))
		return
	}
	resp, err := h(t, c, req)
	if err != nil {
		code := remoting.SystemError
		var ce *codeError
		if errors.As(err, &ce) {
			code = ce.code
		}
		t.cfg.Logger.Debug("request refused", slog.Int("code", req.Code), slog.Any("err", err))
		c.ReplyError(req.From(), code, err.Error())
		return
	}
	c.Reply(req.From(), resp)
}

// ConnectionEnded forgets the members that registered over the connection.
func (t *Table) ConnectionEnded(c *remoting.Conn) { t.connectionEnded(c) }

func withJSON(v any) (*remoting.Command, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return &remoting.Command{Body: body}, nil
}
