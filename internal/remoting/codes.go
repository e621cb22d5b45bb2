package remoting

// Reply codes that we send or that clients branch on.
const (
	Success                   = 0
	SystemError               = 1
	SystemBusy                = 2
	RequestCodeNotSupported   = 3
	FlushDiskTimeout          = 10
	SlaveNotAvailable         = 11
	FlushSlaveTimeout         = 12
	MessageIllegal            = 13
	ServiceNotAvailable       = 14
	NoPermission              = 16
	TopicNotExist             = 17
	PullNotFound              = 19
	PullRetryImmediately      = 20
	PullOffsetMoved           = 21
	QueryNotFound             = 22
	SubscriptionParseFailed   = 23
	SubscriptionNotExist      = 24
	SubscriptionNotLatest     = 25
	SubscriptionGroupNotExist = 26
	InvalidParameter          = 29
	ConsumerNotOnline         = 206
	ConsumeMsgTimeout         = 207
	NoMessage                 = 208
	PollingFull               = 209
	PollingTimeout            = 210
	FlowControl               = 215
	IllegalOperation          = 604
)

// Request codes of the name server.
const (
	PutKVConfig               = 100
	GetKVConfig               = 101
	DeleteKVConfig            = 102
	RegisterBroker            = 103
	UnregisterBroker          = 104
	GetRouteInfoByTopic       = 105
	GetBrokerClusterInfo      = 106
	WipeWritePermOfBroker     = 205
	GetAllTopicListFromNS     = 206
	DeleteTopicInNS           = 216
	RegisterTopicInNS         = 217
	GetKVListByNamespace      = 219
	GetTopicsByCluster        = 224
	GetSystemTopicListFromNS  = 304
	GetUnitTopicList          = 311
	GetHasUnitSubTopicList    = 312
	GetHasUnitSubUnunitTopics = 313
	UpdateNamesrvConfig       = 318
	GetNamesrvConfig          = 319
	QueryDataVersion          = 322
	AddWritePermOfBroker      = 327
	GetBrokerMemberGroup      = 901
	BrokerHeartbeat           = 904
)

// Request codes of the broker.
const (
	SendMessage                = 10
	PullMessage                = 11
	QueryMessage               = 12
	QueryConsumerOffset        = 14
	UpdateConsumerOffset       = 15
	UpdateAndCreateTopic       = 17
	UpdateAndCreateTopicList   = 18
	GetAllTopicConfig          = 21
	UpdateBrokerConfig         = 25
	GetBrokerConfig            = 26
	GetBrokerRuntimeInfo       = 28
	SearchOffsetByTimestamp    = 29
	GetMaxOffset               = 30
	GetMinOffset               = 31
	GetEarliestMsgStoreTime    = 32
	ViewMessageByID            = 33
	Heartbeat                  = 34
	UnregisterClient           = 35
	ConsumerSendMsgBack        = 36
	EndTransaction             = 37
	GetConsumerListByGroup     = 38
	LockBatchMQ                = 41
	UnlockBatchMQ              = 42
	GetAllConsumerOffset       = 43
	CheckClientConfig          = 46
	UpdateAndCreateGroup       = 200
	GetAllGroupConfig          = 201
	GetTopicStatsInfo          = 202
	GetConsumerConnectionList  = 203
	GetProducerConnectionList  = 204
	DeleteGroup                = 207
	GetConsumeStats            = 208
	DeleteTopicInBroker        = 215
	InvokeBrokerToResetOffset  = 222
	InvokeBrokerToGetStatus    = 223
	UpdateAndCreateGroupList   = 225
	QueryTopicConsumeByWho     = 300
	QueryConsumeTimeSpan       = 303
	GetSystemTopicListBroker   = 305
	CleanExpiredConsumeQueue   = 306
	QueryCorrectionOffset      = 308
	SendMessageV2              = 310
	CloneGroupOffset           = 314
	ViewBrokerStatsData        = 315
	CleanUnusedTopic           = 316
	GetBrokerConsumeStats      = 317
	SendBatchMessage           = 320
	ResumeCheckHalfMessage     = 323
	QueryConsumeQueue          = 321
	SendReplyMessage           = 324
	SendReplyMessageV2         = 325
	GetAllProducerInfo         = 328
	DeleteExpiredCommitLog     = 329
	QueryTopicsByConsumer      = 343
	QuerySubscriptionByConsume = 345
	GetTopicConfig             = 351
	GetGroupConfig             = 352
	UpdateAndGetGroupForbidden = 353
	LitePullMessage            = 361
	RecallMessage              = 370
	QueryAssignment            = 400
	SetMessageRequestMode      = 401
	GetAllMessageRequestMode   = 402
	GetBrokerHAStatus          = 907
)

// Request codes of access control.
const (
	AuthCreateUser = 3001
	AuthUpdateUser = 3002
	AuthDeleteUser = 3003
	AuthGetUser    = 3004
	AuthListUsers  = 3005
	AuthCreateACL  = 3006
	AuthUpdateACL  = 3007
	AuthDeleteACL  = 3008
	AuthGetACL     = 3009
	AuthListACLs   = 3010
)

// Request codes of POP. Their 16 bits in a binary header, and in some clients'
// JSON, are the same request: see Short.
const (
	PopMessage          = 200050
	AckMessage          = 200051
	PeekMessage         = 200052
	ChangeInvisibleTime = 200053
	Notification        = 200054
	PollingInfo         = 200055
	PopRollback         = 200056
	BatchAckMessage     = 200151
)

// shortMask cuts a request code to what a binary header has room for.
const shortMask = 1<<16 - 1

// Short is the number by which a request is known whatever its header's form:
// the code itself, but for those that are too large for a binary header.
func Short(code int) int {
	if code > shortMask {
		return code & shortMask
	}
	return code
}

// Request codes that the broker sends to clients.
const (
	CheckTransactionState    = 39
	NotifyConsumerIDsChanged = 40
	ResetConsumerOffset      = 220
	GetConsumerStatus        = 221
	GetConsumerRunningInfo   = 307
	ConsumeMessageDirectly   = 309
	PushReplyMessage         = 326
)
