package admin

import (
	"time"
)

// Status is what a process is doing.
type Status struct {
	Version  string    `json:"version"`
	Broker   string    `json:"broker"`
	Cluster  string    `json:"cluster"`
	Roles    []string  `json:"roles"`
	DataDir  string    `json:"data_dir"`
	Started  time.Time `json:"started"`
	Ready    bool      `json:"ready"`
	Reason   string    `json:"reason,omitempty"` // why it isn't ready
	HotBytes int64     `json:"hot_bytes"`
	// Physical positions of the broker group's log.
	HotStart  int64             `json:"hot_start"`
	Confirmed int64             `json:"confirmed"`
	Archived  int64             `json:"archived"`
	Listen    map[string]string `json:"listen"`
}

// Topic is one topic.
type Topic struct {
	Name   string `json:"name"`
	Queues int    `json:"queues"`
	// ReadQueues are those that consumers are routed to, WriteQueues those that
	// producers are.
	ReadQueues  int    `json:"read_queues"`
	WriteQueues int    `json:"write_queues"`
	Type        string `json:"type,omitempty"` // of its messages; empty takes all
	System      bool   `json:"system,omitempty"`
	Messages    int64  `json:"messages"` // offsets that can be read, hot and archived, of closed queues too
	// Closed are the queues beyond both numbers that still hold messages: no
	// consumer is routed to them.
	Closed []ClosedQueue `json:"closed,omitempty"`
	// Error is why the archive can't say what it has: Messages are then the hot
	// ones alone.
	Error string `json:"error,omitempty"`
}

// ClosedQueue is a queue that a topic was shrunk by.
type ClosedQueue struct {
	ID       int32 `json:"id"`
	Messages int64 `json:"messages"`
}

// TopicSpec is a topic to make or change.
type TopicSpec struct {
	Name string `json:"name"`
	// Queues is the number of queues; 0 leaves it, and is 4 for a new topic.
	Queues int `json:"queues,omitempty"`
	// ReadQueues is how many of them consumers are routed to where that is more
	// than producers are; 0 for the same number.
	ReadQueues int    `json:"read_queues,omitempty"`
	Type       string `json:"type,omitempty"` // its messages' from now on; empty leaves it
}

// States of a queue: who is routed to it.
const (
	QueueOpen      = "open"
	QueueReadOnly  = "read-only"
	QueueWriteOnly = "write-only"
	QueueClosed    = "closed"
)

// Queue is one queue with its offsets on both sides of the border.
type Queue struct {
	Broker    string    `json:"broker"`
	ID        int32     `json:"id"`
	State     string    `json:"state"`
	Min       int64     `json:"min"`       // first offset that can be read; -1 where the archive can't say
	HotStart  int64     `json:"hot_start"` // first offset in the hot log
	Archived  int64     `json:"archived"`  // first offset not yet in the archive
	Max       int64     `json:"max"`       // next offset to be written
	FirstTime time.Time `json:"first_time,omitzero"`
	LastTime  time.Time `json:"last_time,omitzero"`
}

// TopicDetail is a topic with its queues.
type TopicDetail struct {
	Topic
	Detail []Queue `json:"detail"`
}

// Group is one consumer group.
type Group struct {
	Name    string   `json:"name"`
	Clients int      `json:"clients"`
	Model   string   `json:"model,omitempty"`
	Topics  []string `json:"topics"`
	Lag     int64    `json:"lag"`
}

// GroupOffset is where a group stands in one queue.
type GroupOffset struct {
	Topic    string `json:"topic"`
	Broker   string `json:"broker"`
	Queue    int32  `json:"queue"`
	Offset   int64  `json:"offset"` // -1 where none was committed
	Max      int64  `json:"max"`
	Lag      int64  `json:"lag"`
	ClientID string `json:"client_id,omitempty"`
}

// GroupDetail is a group with its clients and offsets.
type GroupDetail struct {
	Group
	ClientIDs []string      `json:"client_ids"`
	Offsets   []GroupOffset `json:"offsets"`
	// Differing is what the clients subscribe to where that isn't the same.
	Differing []Wish `json:"differing,omitempty"`
}

// Wish is what some clients of a group subscribe to.
type Wish struct {
	Subscriptions []string `json:"subscriptions"`
	ClientIDs     []string `json:"client_ids"`
}

// DeadLetters is one group's dead letters.
type DeadLetters struct {
	Group    string `json:"group"`
	Topic    string `json:"topic"`    // where they lie
	Messages int64  `json:"messages"` // that can be read
	Waiting  int64  `json:"waiting"`  // of them, not yet given back
}

// Resend gives dead letters back to their group.
type Resend struct {
	IDs []string `json:"ids,omitempty"` // these, by message id or offset message id
	All bool     `json:"all,omitempty"` // all that came since the last time
}

// Resent is what was given back.
type Resent struct {
	Sent int  `json:"sent"`
	More bool `json:"more"` // of all, not all were taken at once: ask again
}

// Reset moves a group's offsets of a topic.
type Reset struct {
	Topic string `json:"topic"`
	// To is "earliest", "latest", an RFC 3339 time, or "offset:N".
	To    string `json:"to"`
	Queue *int32 `json:"queue,omitempty"` // nil is all
}

// Message is one message as the API shows it. Body is text where it is UTF-8;
// otherwise BodyBase64 has it.
type Message struct {
	Topic          string            `json:"topic"`
	Broker         string            `json:"broker"`
	Queue          int32             `json:"queue"`
	Offset         int64             `json:"offset"`
	MsgID          string            `json:"msg_id,omitempty"`
	OffsetMsgID    string            `json:"offset_msg_id"`
	Tag            string            `json:"tag,omitempty"`
	Keys           []string          `json:"keys,omitempty"`
	StoreTime      time.Time         `json:"store_time"`
	BornTime       time.Time         `json:"born_time"`
	BornHost       string            `json:"born_host"`
	StoreHost      string            `json:"store_host"`
	ReconsumeTimes int32             `json:"reconsume_times"`
	Flag           int32             `json:"flag"`
	SysFlag        int32             `json:"sys_flag"`
	PhysicalOffset int64             `json:"physical_offset"`
	Properties     map[string]string `json:"properties,omitempty"`
	Body           string            `json:"body,omitempty"`
	BodyBase64     string            `json:"body_base64,omitempty"`
	BodyBytes      int               `json:"body_bytes"`
}

// Outgoing is a message to send.
type Outgoing struct {
	Topic      string            `json:"topic"`
	Queue      *int32            `json:"queue,omitempty"` // nil: the broker picks
	Tag        string            `json:"tag,omitempty"`
	Keys       []string          `json:"keys,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
	Body       string            `json:"body,omitempty"`
	BodyBase64 string            `json:"body_base64,omitempty"`
}

// Sent is where a message went.
type Sent struct {
	MsgID       string `json:"msg_id"`
	OffsetMsgID string `json:"offset_msg_id"`
	Broker      string `json:"broker"`
	Queue       int32  `json:"queue"`
	Offset      int64  `json:"offset"`
	// RecallHandle takes a delayed message back.
	RecallHandle string `json:"recall_handle,omitempty"`
}

// KeySearch finds messages by key.
type KeySearch struct {
	Topic    string
	Key      string
	Unique   bool
	From, To time.Time
	Max      int
}

// Stretch reads messages of one queue, from an offset or a time on.
type Stretch struct {
	Topic  string
	Broker string // "" is this process's
	Queue  int32
	Offset int64     // -1: by time
	From   time.Time // where Offset is -1; zero is the start
	Tags   string    // tag expression, "" keeps all
	SQL    string    // property expression, "" keeps all
	Max    int
}

// Page is a part of a queue.
type Page struct {
	Messages []Message `json:"messages"`
	Next     int64     `json:"next"`
	Min      int64     `json:"min"`
	Max      int64     `json:"max"`
}

// Quota is what one tenant may send, read and connect; 0 is no limit. The tenant
// "*" is every one without its own.
type Quota struct {
	Tenant       string `json:"tenant"`
	SendMessages int64  `json:"send_messages,omitempty"` // a second
	SendBytes    int64  `json:"send_bytes,omitempty"`
	ReadMessages int64  `json:"read_messages,omitempty"`
	ReadBytes    int64  `json:"read_bytes,omitempty"`
	Connections  int64  `json:"connections,omitempty"`
}

// SQLRequest is one query.
type SQLRequest struct {
	SQL            string `json:"sql"`
	Tenant         string `json:"tenant,omitempty"`
	TimeoutSeconds int    `json:"timeout_seconds,omitempty"`
	MaxRows        int64  `json:"max_rows,omitempty"`
	// Visible says which topics there are for who asks; nil is all.
	Visible func(topic string) bool `json:"-"`
}

// Column is one column of an answer.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// SQLEnd closes an answer.
type SQLEnd struct {
	Rows      int64  `json:"rows"`
	Millis    int64  `json:"millis"`
	Truncated string `json:"truncated,omitempty"` // by which limit rows were left out
}

// ReplaySpec says what to read and where it goes.
type ReplaySpec struct {
	Topic string `json:"topic"`
	// Queues narrows the source; none is all.
	Queues []int32 `json:"queues,omitempty"`
	// From and To bound the store time, To excluded; zero is no bound.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// FromOffset and ToOffset bound the offsets, ToOffset excluded; nil is no
	// bound. They need exactly one queue in Queues.
	FromOffset *int64 `json:"from_offset,omitempty"`
	ToOffset   *int64 `json:"to_offset,omitempty"`
	Tags       string `json:"tags,omitempty"` // tag expression: "a || b"
	SQL        string `json:"sql,omitempty"`  // property expression
	// SkipErased leaves out messages whose bodies were erased.
	SkipErased bool   `json:"skip_erased,omitempty"`
	Target     string `json:"target,omitempty"`
	Rate       int    `json:"rate,omitempty"` // messages a second, 0 is full speed
}

// ReplayJob is one replay.
type ReplayJob struct {
	ID      string     `json:"id"`
	State   string     `json:"state"` // waiting, running, paused, done, failed, cancelled
	Error   string     `json:"error,omitempty"`
	Spec    ReplaySpec `json:"spec"`
	Scanned int64      `json:"scanned"`
	Sent    int64      `json:"sent"`
	Missing int64      `json:"missing,omitempty"` // offsets that retention removed before they were read
	Total   int64      `json:"total"`             // offsets to look at
	Started time.Time  `json:"started"`
	Ended   time.Time  `json:"ended,omitzero"`
}

// Active reports whether the job will go on by itself.
func (j ReplayJob) Active() bool { return j.State == "waiting" || j.State == "running" }

// Removal is the record of one deletion.
type Removal struct {
	At       time.Time `json:"at"`
	Topic    string    `json:"topic"`
	Broker   string    `json:"broker"`
	Queue    int32     `json:"queue"`
	Rule     string    `json:"rule"`
	Cause    string    `json:"cause"` // age, bytes, messages or quota
	From     int64     `json:"from"`
	To       int64     `json:"to"`
	Files    int       `json:"files"`
	Messages int64     `json:"messages"`
	Bytes    int64     `json:"bytes"`
	Error    string    `json:"error,omitempty"` // why the topic's removals can't be read; then Topic is all else that is set
}

// ArchiveTopic is the archive of one topic.
type ArchiveTopic struct {
	Topic     string    `json:"topic"`
	Location  string    `json:"location"`
	Snapshot  int64     `json:"snapshot"`
	Files     int       `json:"files"`
	Messages  int64     `json:"messages"`
	Bytes     int64     `json:"bytes"`
	RawBytes  int64     `json:"raw_bytes,omitempty"` // of the stored records; 0 where it isn't known of all files
	FirstTime time.Time `json:"first_time,omitzero"`
	LastTime  time.Time `json:"last_time,omitzero"`
	Pending   int64     `json:"pending"`         // messages confirmed but not yet archived
	Error     string    `json:"error,omitempty"` // why the table can't be read: the topic is blocked
	// Holds are the legal holds that keep something of it, and Held how many
	// files they keep; those by key are not counted.
	Holds []string `json:"holds,omitempty"`
	Held  int      `json:"held,omitempty"`
	// Gaps are offsets that are missing by the user's own choice.
	Gaps []ArchiveGap `json:"gaps,omitempty"`
}

// ArchiveGap is a range of offsets, To exclusive, that was dropped before it was
// archived.
type ArchiveGap struct {
	Broker string `json:"broker"`
	Queue  int32  `json:"queue"`
	From   int64  `json:"from"`
	To     int64  `json:"to"`
}

// ArchiveStatus is the whole archive.
type ArchiveStatus struct {
	Location string         `json:"location"`
	Topics   []ArchiveTopic `json:"topics"`
	Pending  int64          `json:"pending"`
	Error    string         `json:"error,omitempty"` // why the connector waits
	// Lock is whether the bucket itself locks what legal holds cover; nil without
	// a hold in force.
	Lock *ObjectLock `json:"lock,omitempty"`
	// Unreached says since when and why the archive can't be asked; Topics then
	// has what waits for it, and nothing of the archive.
	Unreached string `json:"unreached,omitempty"`
	// Blocked are the queues that are not archived any more.
	Blocked []ArchiveBlocked `json:"blocked,omitempty"`
	// BadFiles are data files that a reader could not read.
	BadFiles []ArchiveBadFile `json:"bad_files,omitempty"`
	// Compaction is what this process merges.
	Compaction *ArchiveCompaction `json:"compaction,omitempty"`
	// State is what the bucket has of topics, groups, settings and users.
	State *ArchiveState `json:"state,omitempty"`
}

// ArchiveState tells of the broker group's state in the archive's bucket.
type ArchiveState struct {
	At         time.Time `json:"at,omitzero"` // all that was so then is there; zero where nothing was kept since the start
	Generation int64     `json:"generation,omitempty"`
	Sequence   int64     `json:"sequence,omitempty"` // of the snapshot
	Error      string    `json:"error,omitempty"`    // why the last try failed
}

// ArchiveCompaction tells of the merging of small data files since the start.
type ArchiveCompaction struct {
	Enabled  bool              `json:"enabled"`
	Running  string            `json:"running,omitempty"` // what is being merged now
	Paused   string            `json:"paused,omitempty"`  // why nothing is begun
	Merges   int64             `json:"merges"`
	Files    int64             `json:"files"` // that were merged
	BytesIn  int64             `json:"bytes_in"`
	BytesOut int64             `json:"bytes_out"`
	Error    string            `json:"error,omitempty"`
	ErrorAt  time.Time         `json:"error_at,omitzero"`
	Left     map[string]string `json:"left,omitempty"` // files that can't be merged, and why
}

// Compacted is what one call of Compact did.
type Compacted struct {
	Merges   int64 `json:"merges"`
	Files    int64 `json:"files"`
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
}

// ArchiveBadFile is a data file, of the offsets From to To, that could not be
// read from At on when it was last tried.
type ArchiveBadFile struct {
	Name   string    `json:"name"`
	Topic  string    `json:"topic"`
	Broker string    `json:"broker"`
	Queue  int32     `json:"queue"`
	From   int64     `json:"from"`
	To     int64     `json:"to"`
	At     int64     `json:"at"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// ArchiveBlocked is a queue that is not archived any more, and why.
type ArchiveBlocked struct {
	Broker string `json:"broker"`
	Topic  string `json:"topic"`
	Queue  int32  `json:"queue"`
	Reason string `json:"reason"`
}

// ArchiveFile is one data file.
type ArchiveFile struct {
	Name      string    `json:"name"`
	Broker    string    `json:"broker"`
	Queue     int32     `json:"queue"`
	From      int64     `json:"from"`
	To        int64     `json:"to"`
	Messages  int64     `json:"messages"`
	Bytes     int64     `json:"bytes"`
	FirstTime time.Time `json:"first_time"`
	LastTime  time.Time `json:"last_time"`
}

// Trimmed is what a trim of the hot log freed.
type Trimmed struct {
	FreedBytes int64 `json:"freed_bytes"`
}
