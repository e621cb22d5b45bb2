package broker

import (
	"net/netip"
	"time"

	"varve/broker/group"
	"varve/broker/timer"
	"varve/broker/topic"
	"varve/internal/backlog"
	"varve/internal/mq"
)

// What the parts call by their own names, for the fronts.
type (
	// Client is one client connection; fronts implement it.
	Client = group.Client
	// Topic is the settings of one topic.
	Topic = topic.Config
	// Group is the settings of one consumer group.
	Group = group.Config
	// Subscription is what a group wants of a topic.
	Subscription = group.Subscription
	// ConsumerBeat is one client's membership in one consumer group.
	ConsumerBeat = group.Beat
	// Member is one client of a group.
	Member = group.Member
	// Wish is what some members of a group subscribe to, and others don't.
	Wish = group.Wish
	// Held is one message that waits for its time.
	Held = timer.Held
	// HeldQuery asks for some of them.
	HeldQuery = timer.Query
	// Members is a consumer group as it is now.
	Members = group.Members
)

// AttrMessageType is the attribute of a topic that says which messages it
// takes.
const AttrMessageType = topic.AttrMessageType

// RetryExponential is the type of a group's RetryPolicy whose delays grow.
const RetryExponential = group.Exponential

// AnyQueue as a message's queue id lets the broker pick one.
const AnyQueue = -1

// SendRequest is one send. Submit has read it, and all that it points to,
// when it returns.
type SendRequest struct {
	Group string // producer group
	// Message is what to store. QueueID may be AnyQueue. BornHost is the
	// client's address.
	Message mq.Message
	// Batch says that the body is a concatenation of messages in RocketMQ's
	// batch form, to be stored as messages of their own.
	Batch bool
	// DefaultTopic and DefaultQueues tell from what a missing topic is made.
	DefaultTopic  string
	DefaultQueues int32
	// MaxReconsumeTimes bounds the retries of a message that a client sends to
	// a retry topic itself; negative for the group's own setting.
	MaxReconsumeTimes int32
	Unit              bool
	// Typed says that the client's protocol has types of messages: CheckTyped
	// holds it to the topic's.
	Typed bool
}

// Receipt is where one message was stored.
type Receipt struct {
	MsgID           string // UNIQ_KEY: the client's, or made here where it sent none
	Queue           mq.Queue
	QueueOffset     int64
	PhysicalOffset  int64
	StoreTimeMillis int64
	StoreHost       netip.AddrPort
	// RecallHandle is what Recall takes to take a delayed message back; empty
	// for any other.
	RecallHandle string

	dueMillis int64 // of a message that is held back
}

// OffsetMsgID is the broker's own id of the message.
func (r *Receipt) OffsetMsgID() string { return mq.OffsetMsgID(r.StoreHost, r.PhysicalOffset) }

// PullStatus is the outcome of a pull.
type PullStatus int

// Outcomes, with the code that RocketMQ gives them.
const (
	// PullFound has messages. (0)
	PullFound PullStatus = iota
	// PullNoNew says that the offset is the end of the queue. (19)
	PullNoNew
	// PullNoMatch says that nothing up to Next matches; pull on at once. (20)
	PullNoMatch
	// PullMoved says that the offset is outside the queue or was reset: the
	// client goes on at Next and keeps that. (21)
	PullMoved
	// PullElsewhere says that broker id Suggest of the same group has the
	// offset; Next is the offset itself. (20, with suggestWhichBrokerId)
	PullElsewhere
)

// PullRequest is one pull. It is kept while the pull is held: it must not be
// reused, and its strings must be its own.
type PullRequest struct {
	Group       string
	Topic       string
	QueueID     int32
	Offset      int64
	MaxMessages int
	MaxBytes    int           // 0 is the broker's limit
	Suspend     time.Duration // how long to wait for a message; 0 doesn't
	// CommitOffset, if not negative, is the group's progress to note.
	CommitOffset int64
	// Inline says that Expression, of type ExpressionType (TAG where empty),
	// is the subscription; otherwise the heartbeat's counts, and SubVersion is
	// the version that the client has.
	Inline         bool
	Expression     string
	ExpressionType string
	SubVersion     int64
	// Routable says that the client pulls from another broker id when told to.
	Routable bool
	// Client is who pulls; nil for a pull from within the process.
	Client Client
	// Backlog, if not nil, is what the connection has that pulls: it bounds the
	// answer, which counts there until Batch.Release.
	Backlog *backlog.Conn
	// Elsewhere, if not nil, runs what may take long on another goroutine than
	// the caller's, and may wait before it does.
	Elsewhere func(f func())
}

// PullResult answers a pull.
type PullResult struct {
	Status   PullStatus
	Batch    mq.Batch // of PullFound
	Next     int64    // where to pull on
	Min, Max int64    // the queue's range, archive included
	// Suggest is the broker id to pull from next.
	Suggest      int64
	TopicSysFlag int32
	GroupSysFlag int32
	// Here says that done runs in the goroutine that called Pull, or the one of
	// Elsewhere.
	Here bool
}

// Heartbeat is what one client says of all its groups.
type Heartbeat struct {
	ClientID    string
	Language    string
	Version     int
	Producers   []string
	Consumers   []ConsumerBeat // the fields above are filled in from here
	Fingerprint int32          // of the V2 form, else 0
	WithoutSub  bool
	// Connection is what the client came by, as Use knows it; the client itself
	// where nil.
	Connection any
}

// SendBackRequest asks to have a message delivered again, later.
type SendBackRequest struct {
	Group          string
	PhysicalOffset int64
	DelayLevel     int32 // 0 grows with each retry, negative is the dead letter queue
	OriginTopic    string
	Unit           bool
	// MaxReconsumeTimes bounds the retries; negative for the group's setting.
	MaxReconsumeTimes int32
}

// ResetRequest sets a group's progress in a topic.
type ResetRequest struct {
	Group, Topic string
	QueueID      int32 // AnyQueue for all
	// Offset, if not negative, is the target; it needs a QueueID.
	Offset int64
	// TimeMillis is the target where Offset is negative: the first message
	// stored at or after it, and the end of the queue where it is negative.
	TimeMillis int64
}

// QueueStat is one queue of a topic.
type QueueStat struct {
	Queue            mq.Queue
	Min, Max         int64
	LastUpdateMillis int64 // store time of the last message, 0 where there is none
}

// ConsumeStat is a group's progress in one queue.
type ConsumeStat struct {
	Queue            mq.Queue
	BrokerOffset     int64 // end of the queue
	ConsumerOffset   int64
	PullOffset       int64
	LastUpdateMillis int64 // store time of the last message consumed, 0 where unknown
}

// Stats is the broker's figures since it started.
type Stats struct {
	Sends, SendErrors, SentBytes int64 // messages
	Pulls, PulledMessages        int64
	PulledBytes                  int64
	ColdReads, ColdRouted        int64
	SendBacks, DeadLetters       int64
	HeldPulls                    int
	Topics, Groups               int
	GroupsDiffering              int // whose members subscribe to different things
	TimersPending                int64
	TransactionsOpen             int64 // half messages in doubt
	TransactionCommits           int64
	TransactionRollbacks         int64
	TransactionChecks            int64 // questions put to producers
	TransactionsGivenUp          int64
	Recalls                      int64 // messages that were recalled
	Pops, PoppedMessages         int64
	PoppedBytes                  int64
	Acks                         int64 // messages that POP consumers acked
	PopRetries                   int64 // messages that they didn't ack in time
	PopInFlight                  int64 // messages that they have
	HeldPops                     int
}
