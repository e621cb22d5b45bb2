package remoting

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"varve/broker"
	"varve/internal/auth"
	"varve/internal/mq"
	wire "varve/internal/remoting"
)

// Config sets up a Front.
type Config struct {
	// Queues gives a topic's queues to read, of all broker groups; the broker's
	// own where nil.
	Queues func(ctx context.Context, topic string) ([]mq.Queue, error)
	Conn   wire.Config // bounds of connections; OnClose and AfterRead are the front's own
	Auth   *auth.Store // users and policies; Conn.Admit asks it
	Logger *slog.Logger
}

// Front serves one broker to remoting clients.
type Front struct {
	broker   *broker.Broker
	cfg      Config
	region   string   // of the broker's configuration
	traceOn  string   // "true" or "false"
	sessions sync.Map // *wire.Conn → *session
	clients  sync.Map // client id → *session that sent its last heartbeat
	rates    rates
	told     func() // hears of a connection that waits for its turn; for tests
}

// rates is what code 28 remembers from one question to the next.
type rates struct {
	start    time.Time
	mu       sync.Mutex
	put, get rate
}

// New is a front for b.
func New(b *broker.Broker, cfg Config) *Front {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	bc := b.Config()
	f := &Front{broker: b, cfg: cfg, region: bc.Region, traceOn: fmt.Sprint(bc.TraceOn)}
	if f.cfg.Conn.Logger == nil {
		f.cfg.Conn.Logger = cfg.Logger
	}
	f.cfg.Conn.OnClose = f.ended
	f.cfg.Conn.AfterRead = f.readAll
	f.cfg.Conn.BeforeRead = func(c *wire.Conn) { f.session(c).takeTurn() }
	now := time.Now()
	f.rates.start = now
	f.rates.put, f.rates.get = rate{start: now, last: now}, rate{start: now, last: now}
	return f
}

// Serve takes clients from the listener until ctx ends. It closes the listener.
func (f *Front) Serve(ctx context.Context, ln net.Listener) error {
	return wire.Serve(ctx, ln, f.serve, f.cfg.Conn)
}

// readAll ends a stretch of requests: the sends among them are committed
// together.
func (f *Front) readAll(c *wire.Conn) (sends int) {
	s := f.session(c)
	if sends = s.sends; sends > 0 {
		s.sends = 0
		f.broker.Commit()
	}
	return sends
}

// request is how one request code is handled.
type request struct {
	name string
	// raw handles the request and answers it by itself, on the reader.
	raw func(*Front, *session, *wire.Command)
	// reply handles the request and gives the answer.
	reply func(*Front, *session, *wire.Command) (*wire.Command, error)
	// slow is for reply: it may wait for a disk or a bucket.
	slow bool
}

// tableSize is above the request codes that are looked up by their number.
const tableSize = 4096

// The requests of POP by their short numbers.
const (
	popMessage          = wire.PopMessage & (1<<16 - 1)
	ackMessage          = wire.AckMessage & (1<<16 - 1)
	batchAckMessage     = wire.BatchAckMessage & (1<<16 - 1)
	peekMessage         = wire.PeekMessage & (1<<16 - 1)
	changeInvisibleTime = wire.ChangeInvisibleTime & (1<<16 - 1)
	notification        = wire.Notification & (1<<16 - 1)
	pollingInfo         = wire.PollingInfo & (1<<16 - 1)
)

// requests holds every request code that the broker takes.
var requests = [tableSize]request{
	wire.SendMessage:                {name: "SEND_MESSAGE", raw: (*Front).sendMessage},
	wire.PullMessage:                {name: "PULL_MESSAGE", raw: (*Front).pullMessage},
	wire.QueryMessage:               {name: "QUERY_MESSAGE", reply: (*Front).queryMessage, slow: true},
	wire.QueryConsumerOffset:        {name: "QUERY_CONSUMER_OFFSET", reply: (*Front).queryConsumerOffset, slow: true},
	wire.UpdateConsumerOffset:       {name: "UPDATE_CONSUMER_OFFSET", reply: (*Front).updateConsumerOffset},
	wire.UpdateAndCreateTopic:       {name: "UPDATE_AND_CREATE_TOPIC", reply: (*Front).updateAndCreateTopic, slow: true},
	wire.UpdateAndCreateTopicList:   {name: "UPDATE_AND_CREATE_TOPIC_LIST", reply: (*Front).updateAndCreateTopicList, slow: true},
	wire.GetAllTopicConfig:          {name: "GET_ALL_TOPIC_CONFIG", reply: (*Front).getAllTopicConfig, slow: true},
	wire.UpdateBrokerConfig:         {name: "UPDATE_BROKER_CONFIG", reply: (*Front).updateBrokerConfig, slow: true},
	wire.GetBrokerConfig:            {name: "GET_BROKER_CONFIG", reply: (*Front).getBrokerConfig},
	wire.GetBrokerRuntimeInfo:       {name: "GET_BROKER_RUNTIME_INFO", reply: (*Front).getBrokerRuntimeInfo},
	wire.SearchOffsetByTimestamp:    {name: "SEARCH_OFFSET_BY_TIMESTAMP", reply: (*Front).searchOffsetByTimestamp, slow: true},
	wire.GetMaxOffset:               {name: "GET_MAX_OFFSET", reply: (*Front).getMaxOffset, slow: true},
	wire.GetMinOffset:               {name: "GET_MIN_OFFSET", reply: (*Front).getMinOffset, slow: true},
	wire.GetEarliestMsgStoreTime:    {name: "GET_EARLIEST_MSG_STORETIME", reply: (*Front).getEarliestMsgStoreTime, slow: true},
	wire.ViewMessageByID:            {name: "VIEW_MESSAGE_BY_ID", reply: (*Front).viewMessageByID, slow: true},
	wire.Heartbeat:                  {name: "HEART_BEAT", reply: (*Front).heartbeat},
	wire.UnregisterClient:           {name: "UNREGISTER_CLIENT", reply: (*Front).unregisterClient},
	wire.ConsumerSendMsgBack:        {name: "CONSUMER_SEND_MSG_BACK", reply: (*Front).consumerSendMsgBack, slow: true},
	wire.EndTransaction:             {name: "END_TRANSACTION", raw: (*Front).endTransaction},
	wire.GetConsumerListByGroup:     {name: "GET_CONSUMER_LIST_BY_GROUP", reply: (*Front).getConsumerListByGroup},
	wire.LockBatchMQ:                {name: "LOCK_BATCH_MQ", reply: (*Front).lockBatchMQ},
	wire.UnlockBatchMQ:              {name: "UNLOCK_BATCH_MQ", reply: (*Front).unlockBatchMQ},
	wire.GetAllConsumerOffset:       {name: "GET_ALL_CONSUMER_OFFSET", reply: (*Front).getAllConsumerOffset, slow: true},
	wire.CheckClientConfig:          {name: "CHECK_CLIENT_CONFIG", reply: (*Front).checkClientConfig},
	wire.UpdateAndCreateGroup:       {name: "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP", reply: (*Front).updateAndCreateGroup, slow: true},
	wire.GetAllGroupConfig:          {name: "GET_ALL_SUBSCRIPTIONGROUP_CONFIG", reply: (*Front).getAllGroupConfig, slow: true},
	wire.GetTopicStatsInfo:          {name: "GET_TOPIC_STATS_INFO", reply: (*Front).getTopicStatsInfo, slow: true},
	wire.GetConsumerConnectionList:  {name: "GET_CONSUMER_CONNECTION_LIST", reply: (*Front).getConsumerConnectionList},
	wire.GetProducerConnectionList:  {name: "GET_PRODUCER_CONNECTION_LIST", reply: (*Front).getProducerConnectionList},
	wire.DeleteGroup:                {name: "DELETE_SUBSCRIPTIONGROUP", reply: (*Front).deleteGroup, slow: true},
	wire.GetConsumeStats:            {name: "GET_CONSUME_STATS", reply: (*Front).getConsumeStats, slow: true},
	wire.DeleteTopicInBroker:        {name: "DELETE_TOPIC_IN_BROKER", reply: (*Front).deleteTopicInBroker, slow: true},
	wire.InvokeBrokerToResetOffset:  {name: "INVOKE_BROKER_TO_RESET_OFFSET", reply: (*Front).invokeBrokerToResetOffset, slow: true},
	wire.InvokeBrokerToGetStatus:    {name: "INVOKE_BROKER_TO_GET_CONSUMER_STATUS", reply: (*Front).getConsumerStatus, slow: true},
	wire.UpdateAndCreateGroupList:   {name: "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST", reply: (*Front).updateAndCreateGroupList, slow: true},
	wire.QueryTopicConsumeByWho:     {name: "QUERY_TOPIC_CONSUME_BY_WHO", reply: (*Front).queryTopicConsumeByWho},
	wire.QueryConsumeTimeSpan:       {name: "QUERY_CONSUME_TIME_SPAN", reply: (*Front).queryConsumeTimeSpan, slow: true},
	wire.GetSystemTopicListBroker:   {name: "GET_SYSTEM_TOPIC_LIST_FROM_BROKER", reply: (*Front).getSystemTopicList},
	wire.CleanExpiredConsumeQueue:   {name: "CLEAN_EXPIRED_CONSUMEQUEUE", reply: (*Front).cleanNothing},
	wire.GetConsumerRunningInfo:     {name: "GET_CONSUMER_RUNNING_INFO", reply: (*Front).getConsumerRunningInfo, slow: true},
	wire.QueryCorrectionOffset:      {name: "QUERY_CORRECTION_OFFSET", reply: (*Front).queryCorrectionOffset, slow: true},
	wire.ConsumeMessageDirectly:     {name: "CONSUME_MESSAGE_DIRECTLY", reply: (*Front).consumeMessageDirectly, slow: true},
	wire.SendMessageV2:              {name: "SEND_MESSAGE_V2", raw: (*Front).sendMessage},
	wire.CloneGroupOffset:           {name: "CLONE_GROUP_OFFSET", reply: (*Front).cloneGroupOffset, slow: true},
	wire.ViewBrokerStatsData:        {name: "VIEW_BROKER_STATS_DATA", reply: (*Front).viewBrokerStatsData},
	wire.CleanUnusedTopic:           {name: "CLEAN_UNUSED_TOPIC", reply: (*Front).cleanNothing},
	wire.GetBrokerConsumeStats:      {name: "GET_BROKER_CONSUME_STATS", reply: (*Front).getBrokerConsumeStats, slow: true},
	wire.SendBatchMessage:           {name: "SEND_BATCH_MESSAGE", raw: (*Front).sendBatchMessage},
	wire.ResumeCheckHalfMessage:     {name: "RESUME_CHECK_HALF_MESSAGE", reply: (*Front).resumeCheckHalfMessage, slow: true},
	wire.QueryConsumeQueue:          {name: "QUERY_CONSUME_QUEUE", reply: (*Front).queryConsumeQueue, slow: true},
	wire.SendReplyMessage:           {name: "SEND_REPLY_MESSAGE", reply: (*Front).sendReplyMessage, slow: true},
	wire.SendReplyMessageV2:         {name: "SEND_REPLY_MESSAGE_V2", reply: (*Front).sendReplyMessage, slow: true},
	wire.GetAllProducerInfo:         {name: "GET_ALL_PRODUCER_INFO", reply: (*Front).getAllProducerInfo},
	wire.DeleteExpiredCommitLog:     {name: "DELETE_EXPIRED_COMMITLOG", reply: (*Front).cleanNothing},
	wire.QueryTopicsByConsumer:      {name: "QUERY_TOPICS_BY_CONSUMER", reply: (*Front).queryTopicsByConsumer},
	wire.QuerySubscriptionByConsume: {name: "QUERY_SUBSCRIPTION_BY_CONSUMER", reply: (*Front).querySubscriptionByConsumer},
	wire.GetTopicConfig:             {name: "GET_TOPIC_CONFIG", reply: (*Front).getTopicConfig},
	wire.GetGroupConfig:             {name: "GET_SUBSCRIPTIONGROUP_CONFIG", reply: (*Front).getGroupConfig},
	wire.UpdateAndGetGroupForbidden: {name: "UPDATE_AND_GET_GROUP_FORBIDDEN", reply: (*Front).updateAndGetGroupForbidden, slow: true},
	wire.LitePullMessage:            {name: "LITE_PULL_MESSAGE", raw: (*Front).pullMessage},
	wire.QueryAssignment:            {name: "QUERY_ASSIGNMENT", reply: (*Front).queryAssignment, slow: true},
	wire.SetMessageRequestMode:      {name: "SET_MESSAGE_REQUEST_MODE", reply: (*Front).setMessageRequestMode, slow: true},
	wire.GetAllMessageRequestMode:   {name: "GET_ALL_MESSAGE_REQUEST_MODE", reply: (*Front).getAllMessageRequestMode},
	wire.RecallMessage:              {name: "RECALL_MESSAGE", reply: (*Front).recallMessage, slow: true},
	popMessage:                      {name: "POP_MESSAGE", raw: (*Front).popMessage},
	ackMessage:                      {name: "ACK_MESSAGE", raw: (*Front).ackMessage},
	batchAckMessage:                 {name: "BATCH_ACK_MESSAGE", reply: (*Front).batchAckMessage},
	peekMessage:                     {name: "PEEK_MESSAGE", reply: (*Front).peekMessage, slow: true},
	changeInvisibleTime:             {name: "CHANGE_MESSAGE_INVISIBLETIME", reply: (*Front).changeInvisibleTime},
	notification:                    {name: "NOTIFICATION", raw: (*Front).notification},
	pollingInfo:                     {name: "POLLING_INFO", reply: (*Front).pollingInfo},
	wire.GetBrokerHAStatus:          {name: "GET_BROKER_HA_STATUS", reply: (*Front).getBrokerHAStatus},
	wire.AuthCreateUser:             {name: "AUTH_CREATE_USER", reply: (*Front).createUser, slow: true},
	wire.AuthUpdateUser:             {name: "AUTH_UPDATE_USER", reply: (*Front).updateUser, slow: true},
	wire.AuthDeleteUser:             {name: "AUTH_DELETE_USER", reply: (*Front).deleteUser, slow: true},
	wire.AuthGetUser:                {name: "AUTH_GET_USER", reply: (*Front).getUser},
	wire.AuthListUsers:              {name: "AUTH_LIST_USER", reply: (*Front).listUsers},
	wire.AuthCreateACL:              {name: "AUTH_CREATE_ACL", reply: (*Front).putACL, slow: true},
	wire.AuthUpdateACL:              {name: "AUTH_UPDATE_ACL", reply: (*Front).putACL, slow: true},
	wire.AuthDeleteACL:              {name: "AUTH_DELETE_ACL", reply: (*Front).deleteACL, slow: true},
	wire.AuthGetACL:                 {name: "AUTH_GET_ACL", reply: (*Front).getACL},
	wire.AuthListACLs:               {name: "AUTH_LIST_ACL", reply: (*Front).listACLs},
}

// serve takes one request from a connection's reader.
func (f *Front) serve(c *wire.Conn, req *wire.Command) {
	var r *request
	if code := wire.Short(req.Code); code >= 0 && code < tableSize {
		r = &requests[code]
	}
	if r == nil || r.raw == nil && r.reply == nil {
		c.ReplyError(req.From(), wire.RequestCodeNotSupported, wire.NotSupported(req.Code))
		return
	}
	s := f.session(c)
	switch {
	case r.raw != nil:
		r.raw(f, s, req)
	case r.slow:
		c.Go(req, func(_ *wire.Conn, req *wire.Command) { f.answer(s, r, req) })
	default:
		f.answer(s, r, req)
	}
}

func (f *Front) answer(s *session, r *request, req *wire.Command) {
	resp, err := r.reply(f, s, req)
	if err != nil {
		f.refuse(s, r.name, req.From(), err)
		return
	}
	s.conn.Reply(req.From(), resp)
}

// refuse answers a request with the code of an error.
func (f *Front) refuse(s *session, name string, from wire.From, err error) {
	code := codeOf(err)
	gone := s.conn.Context().Err() != nil && errors.Is(err, context.Canceled) // its client's doing, and no failure
	if code == wire.SystemError && !gone {
		f.cfg.Logger.Warn("request failed", slog.String("request", name),
			slog.String("peer", s.conn.Remote().String()), slog.Any("err", err))
	}
	s.conn.ReplyError(from, code, err.Error())
}

// ok is the answer without header or body.
func ok() (*wire.Command, error) { return &wire.Command{}, nil }

func withJSON(v any) (*wire.Command, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return &wire.Command{Body: body}, nil
}

// fromJSON decodes a request's body.
func fromJSON(req *wire.Command, into any) error {
	if err := json.Unmarshal(req.Body, into); err != nil {
		return refused(wire.SystemError, "request %d: body is not the JSON that it should be: %v", req.Code, err)
	}
	return nil
}
