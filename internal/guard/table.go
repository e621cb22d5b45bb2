package guard

import (
	"varve/internal/auth"
	"varve/internal/remoting"
)

// need is what a request needs: the actions, of which one is enough, with each
// topic and group that it names, or with the cluster where it names none.
type need struct {
	do             auth.Action
	topics, groups []string // ext fields; each that is there counts
	inTopics       []string // paths in the body, such as "mqSet[].topic"
	inGroups       []string
	cluster        bool // it is about the whole cluster
	create         bool // what exists may also be done with the right to update it
	free           bool // who is known may
	acks           bool // its topic is that of a message which was popped
}

// Names of fields.
var (
	topic   = []string{"topic"}
	group   = []string{"group"}
	members = []string{"consumerGroup"}
	sent    = []string{"b", "topic"} // of a send: either code takes either name
)

const (
	read   = auth.Sub | auth.Get
	look   = auth.Get | auth.List
	locked = "mqSet[].topic"
)

// table says what each request code needs.
var table = map[int]need{
	remoting.SendMessage:        {do: auth.Pub, topics: sent},
	remoting.SendMessageV2:      {do: auth.Pub, topics: sent},
	remoting.SendBatchMessage:   {do: auth.Pub, topics: sent},
	remoting.SendReplyMessage:   {do: auth.Pub, topics: sent},
	remoting.SendReplyMessageV2: {do: auth.Pub, topics: sent},
	remoting.EndTransaction:     {do: auth.Pub, topics: topic, free: true},
	370:                         {do: auth.Pub, topics: topic}, // RECALL_MESSAGE

	remoting.PullMessage:            {do: auth.Sub, topics: topic, groups: members},
	remoting.LitePullMessage:        {do: auth.Sub, topics: topic, groups: members},
	remoting.ConsumerSendMsgBack:    {do: auth.Sub, groups: group}, // and the message's own topic, see its handler
	remoting.QueryConsumerOffset:    {do: read, topics: topic, groups: members},
	remoting.UpdateConsumerOffset:   {do: auth.Sub | auth.Update, topics: topic, groups: members},
	remoting.GetConsumerListByGroup: {do: read, groups: members},
	remoting.LockBatchMQ:            {do: auth.Sub, inTopics: []string{locked}, inGroups: members},
	remoting.UnlockBatchMQ:          {do: auth.Sub, inTopics: []string{locked}, inGroups: members},
	remoting.Heartbeat: {
		do: auth.Sub, inGroups: []string{"consumerDataSet[].groupName"},
		inTopics: []string{"consumerDataSet[].subscriptionDataSet[].topic"}, free: true,
	},
	remoting.UnregisterClient:  {do: auth.Sub, groups: members, free: true},
	remoting.CheckClientConfig: {do: auth.Sub, inGroups: group, inTopics: []string{"subscriptionData.topic"}, free: true},
	400:                        {do: auth.Sub, inGroups: members, inTopics: topic}, // QUERY_ASSIGNMENT

	200050: {do: auth.Sub, topics: topic, groups: members},                                                                         // POP_MESSAGE
	200051: {do: auth.Sub, topics: topic, groups: members, acks: true},                                                             // ACK_MESSAGE
	200151: {do: auth.Sub, inTopics: []string{"acks[].t", "acks[].topic"}, inGroups: []string{"acks[].c", "acks[].consumerGroup"}}, // BATCH_ACK_MESSAGE
	200052: {do: auth.Sub, topics: topic, groups: members},                                                                         // PEEK_MESSAGE
	200053: {do: auth.Sub, topics: topic, groups: members, acks: true},                                                             // CHANGE_MESSAGE_INVISIBLETIME
	200054: {do: auth.Sub, topics: topic, groups: members},                                                                         // NOTIFICATION
	200055: {do: read, topics: topic, groups: members},                                                                             // POLLING_INFO
	401:    {do: auth.Update, inTopics: topic, inGroups: members},                                                                  // SET_MESSAGE_REQUEST_MODE
	402:    {do: look, cluster: true},                                                                                              // GET_ALL_MESSAGE_REQUEST_MODE

	remoting.QueryMessage:            {do: read, topics: topic},
	remoting.SearchOffsetByTimestamp: {do: read, topics: topic},
	remoting.GetMaxOffset:            {do: read, topics: topic},
	remoting.GetMinOffset:            {do: read, topics: topic},
	remoting.GetEarliestMsgStoreTime: {do: read, topics: topic},
	remoting.ViewMessageByID:         {do: read, topics: topic, free: true},      // and the message's own topic, see its handler
	321:                              {do: read, topics: topic, groups: members}, // QUERY_CONSUME_QUEUE

	remoting.UpdateAndCreateTopic:     {do: auth.Create, topics: topic, create: true},
	remoting.UpdateAndCreateTopicList: {do: auth.Create, inTopics: []string{"topicConfigList[].topicName"}, create: true},
	remoting.DeleteTopicInBroker:      {do: auth.Delete, topics: topic},
	remoting.GetTopicConfig:           {do: look, topics: topic},
	remoting.GetAllTopicConfig:        {do: look, cluster: true},
	remoting.GetTopicStatsInfo:        {do: look, topics: topic},
	remoting.QueryTopicConsumeByWho:   {do: look, topics: topic},
	remoting.UpdateAndCreateGroup:     {do: auth.Create, inGroups: []string{"groupName"}, create: true},
	remoting.UpdateAndCreateGroupList: {do: auth.Create, inGroups: []string{"groupConfigList[].groupName"}, create: true},
	remoting.DeleteGroup:              {do: auth.Delete, groups: []string{"groupName"}},
	remoting.GetGroupConfig:           {do: look, groups: group},
	remoting.GetAllGroupConfig:        {do: look, cluster: true},

	remoting.GetConsumerConnectionList:  {do: look, groups: members},
	remoting.GetProducerConnectionList:  {do: look, cluster: true},
	remoting.GetAllProducerInfo:         {do: look, cluster: true},
	remoting.GetConsumeStats:            {do: look, topics: topic, groups: members},
	remoting.GetBrokerConsumeStats:      {do: look, cluster: true},
	remoting.QueryTopicsByConsumer:      {do: look, groups: group},
	remoting.QuerySubscriptionByConsume: {do: look, topics: topic, groups: group},
	remoting.QueryConsumeTimeSpan:       {do: look, topics: topic, groups: group},
	remoting.QueryCorrectionOffset:      {do: look, topics: topic, groups: []string{"compareGroup", "filterGroups"}},
	remoting.GetConsumerRunningInfo:     {do: look, groups: members},
	remoting.ConsumeMessageDirectly:     {do: auth.Sub, topics: topic, groups: members}, // and the message's own topic
	remoting.InvokeBrokerToResetOffset:  {do: auth.Update, topics: topic, groups: group},
	223:                                 {do: look, topics: topic, groups: group}, // INVOKE_BROKER_TO_GET_CONSUMER_STATUS
	remoting.CloneGroupOffset:           {do: auth.Update, topics: topic, groups: []string{"srcGroup", "destGroup"}},
	353:                                 {do: auth.Update, topics: topic, groups: group}, // UPDATE_AND_GET_GROUP_FORBIDDEN
	323:                                 {do: auth.Update, topics: topic},                // RESUME_CHECK_HALF_MESSAGE

	remoting.GetBrokerConfig:          {do: look, cluster: true},
	remoting.GetBrokerRuntimeInfo:     {do: look, cluster: true},
	remoting.ViewBrokerStatsData:      {do: look, cluster: true},
	remoting.GetSystemTopicListBroker: {do: look, cluster: true},
	354:                               {do: look, cluster: true}, // CHECK_ROCKSDB_CQ_WRITE_PROGRESS
	355:                               {do: look, cluster: true}, // EXPORT_ROCKSDB_CONFIG_TO_JSON
	907:                               {do: look, cluster: true}, // GET_BROKER_HA_STATUS
	1007:                              {do: look, cluster: true}, // GET_BROKER_EPOCH_CACHE
	901:                               {do: look, cluster: true}, // GET_BROKER_MEMBER_GROUP
	2003:                              {do: look, cluster: true}, // GET_COLD_DATA_FLOW_CTR_INFO

	remoting.AuthGetUser:   {do: look, cluster: true},
	remoting.AuthListUsers: {do: look, cluster: true},
	remoting.AuthGetACL:    {do: look, cluster: true},
	remoting.AuthListACLs:  {do: look, cluster: true},

	// The name server. Routes of the topic that others inherit from are open to
	// whoever is known: producers ask for it before a topic exists.
	remoting.GetRouteInfoByTopic:       {do: auth.Pub | read, topics: topic},
	remoting.GetKVConfig:               {free: true},
	remoting.GetBrokerClusterInfo:      {do: look, cluster: true},
	remoting.GetAllTopicListFromNS:     {do: look, cluster: true},
	remoting.GetKVListByNamespace:      {do: look, cluster: true},
	remoting.GetTopicsByCluster:        {do: look, cluster: true},
	remoting.GetSystemTopicListFromNS:  {do: look, cluster: true},
	remoting.GetUnitTopicList:          {do: look, cluster: true},
	remoting.GetHasUnitSubTopicList:    {do: look, cluster: true},
	remoting.GetHasUnitSubUnunitTopics: {do: look, cluster: true},
	remoting.GetNamesrvConfig:          {do: look, cluster: true},
}

// unlisted is what a code needs that the table doesn't have.
var unlisted = need{do: auth.Update, cluster: true}

// popAliases are what POP's codes become in the serializers' 16 bits.
const (
	firstPop, firstPopAlias, lastPopAlias = 200050, 3442, 3448
	batchAck, batchAckAlias               = 200151, 3543
)

func needOf(code int) *need {
	switch {
	case code >= firstPopAlias && code <= lastPopAlias:
		code += firstPop - firstPopAlias
	case code == batchAckAlias:
		code = batchAck
	}
	if n, ok := table[code]; ok {
		return &n
	}
	return &unlisted
}
