package audit

import (
	"encoding/hex"
	"slices"
	"time"

	"varve/internal/proof"
)

// Report is what an audit found.
type Report struct {
	Archive  string    `json:"archive"`
	Location string    `json:"location"`
	At       time.Time `json:"at"`
	// OK says that there is no doubt.
	OK     bool  `json:"ok"`
	Tables int   `json:"tables"`
	Files  int   `json:"files"`
	Rows   int64 `json:"messages"`
	// Proven are the messages that a signed head covers, Erased those of them
	// whose body was erased.
	Proven     int64        `json:"proven"`
	Erased     int64        `json:"erased"`
	Bytes      int64        `json:"bytes"`     // of the files read
	RawBytes   int64        `json:"raw_bytes"` // of the messages in them
	Seconds    float64      `json:"seconds"`
	Doubts     []Doubt      `json:"doubts"`
	NotCovered []NotCovered `json:"not_covered"`
	Heads      []Head       `json:"heads"`
	// Leftover are objects that no snapshot needs. They are no doubt.
	Leftover []Leftover `json:"leftover,omitempty"`
	// Compared are the heads of the earlier report that this one was held against,
	// 0 where there was none.
	Compared int `json:"compared,omitempty"`
}

// has reports whether the report knows of a topic; a nil one knows of none.
func (r *Report) has(topic string) bool {
	return r != nil && slices.ContainsFunc(r.Heads, func(h Head) bool { return h.Topic == topic })
}

// Doubt is something that is not as it was signed, or can't be shown to be.
type Doubt struct {
	Topic  string `json:"topic,omitempty"`
	Broker string `json:"broker,omitempty"`
	Queue  *int32 `json:"queue,omitempty"`
	File   string `json:"file,omitempty"`
	// Block is the first that differs; From and To (exclusive) are the offsets
	// among which the difference is.
	Block *int64 `json:"block,omitempty"`
	From  int64  `json:"from,omitempty"`
	To    int64  `json:"to,omitempty"`
	Rows  []Row  `json:"rows,omitempty"`
	What  string `json:"what"`
	// Unsigned says that the doubt is about a head that nothing shows to have ever
	// been signed.
	Unsigned bool `json:"unsigned,omitempty"`
}

// Row is a message that differs, or one of those among which one does.
type Row struct {
	Offset int64  `json:"offset"`
	MsgID  string `json:"msg_id"`
	Why    string `json:"why,omitempty"`
}

// NotCovered are offsets about which the archive proves nothing, and why.
type NotCovered struct {
	Topic  string `json:"topic"`
	Broker string `json:"broker,omitempty"`
	Queue  *int32 `json:"queue,omitempty"`
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	Why    string `json:"why"`
}

// Head is a broker group's signed statement with the queues that it is about: to
// be kept, and given to a later audit.
type Head struct {
	Topic       string      `json:"topic"`
	Incarnation int         `json:"incarnation"`
	Broker      string      `json:"broker"`
	Epoch       int64       `json:"epoch"`
	At          time.Time   `json:"at"`
	Root        string      `json:"root"`
	Key         string      `json:"key,omitempty"`
	Signature   []byte      `json:"signature,omitempty"`
	Queues      []QueueHead `json:"queues"`
}

// QueueHead is one queue's head.
type QueueHead struct {
	Queue int32  `json:"queue"`
	From  int64  `json:"from"`
	Next  int64  `json:"next"`
	Head  string `json:"head"`
}

func queueHeads(list []proof.QueueHead) []QueueHead {
	out := make([]QueueHead, len(list))
	for i, q := range list {
		out[i] = QueueHead{q.ID, q.From, q.Next, hex.EncodeToString(q.Head[:])}
	}
	return out
}
