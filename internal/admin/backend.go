package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"varve/internal/auth"
	"varve/internal/proof"
	"varve/internal/retention"
)

// Backend is the process behind the API. A nil field is a part that the
// process doesn't run.
type Backend struct {
	Status       func(ctx context.Context) Status
	Topics       Topics
	Groups       Groups
	Transactions Transactions
	Messages     Messages
	Timers       Timers
	SQL          SQL
	Replay       Replay
	Retention    Retention
	Archive      Archive
	Guards       Guards
	Quotas       Quotas
	Schemas      Schemas
	Auth         *auth.Store // users and policies; nil lets everybody do everything
}

// Topics is what the API needs to know of topics.
type Topics interface {
	Topics(ctx context.Context) ([]Topic, error)
	Topic(ctx context.Context, name string) (TopicDetail, error)
	CreateTopic(ctx context.Context, s TopicSpec) (Topic, error)
	DeleteTopic(ctx context.Context, name string) error
}

// Groups is what the API needs to know of consumer groups.
type Groups interface {
	Groups(ctx context.Context) ([]Group, error)
	Group(ctx context.Context, name string) (GroupDetail, error)
	ResetGroup(ctx context.Context, name string, r Reset) ([]GroupOffset, error)
	DeleteGroup(ctx context.Context, name string) error
	DeadLetters(ctx context.Context) ([]DeadLetters, error)
	ResendDeadLetters(ctx context.Context, group string, r Resend) (Resent, error)
}

// Messages finds, reads and sends messages.
type Messages interface {
	// MessageByID takes an offsetMsgId, or with a topic a UNIQ_KEY.
	MessageByID(ctx context.Context, topic, id string) (Message, error)
	MessagesByKey(ctx context.Context, s KeySearch) ([]Message, error)
	ReadMessages(ctx context.Context, s Stretch) (Page, error)
	SendMessage(ctx context.Context, m Outgoing) (Sent, error)
}

// Timers shows and takes back messages that wait for their time.
type Timers interface {
	Held(ctx context.Context, s HeldSearch) (HeldPage, error)
	// Recall fails where the message doesn't wait any more.
	Recall(ctx context.Context, r Recall) (Recalled, error)
}

// SQL answers one query row by row. Columns is called once, before any row;
// a row is JSON-encodable values, valid until Row returns.
type SQL interface {
	Query(ctx context.Context, r SQLRequest, columns func([]Column) error, row func([]any) error) (SQLEnd, error)
}

// Replay runs replay jobs.
type Replay interface {
	StartReplay(ctx context.Context, s ReplaySpec) (ReplayJob, error)
	Replays(ctx context.Context) ([]ReplayJob, error)
	ReplayJob(ctx context.Context, id string) (ReplayJob, error)
	// AwaitReplay is ReplayJob that waits some seconds for the job to end.
	AwaitReplay(ctx context.Context, id string) (ReplayJob, error)
	// ReplayAction is "pause", "resume" or "cancel".
	ReplayAction(ctx context.Context, id, action string) (ReplayJob, error)
	// StreamReplay writes the messages as NDJSON.
	StreamReplay(ctx context.Context, s ReplaySpec, w io.Writer) error
}

// Retention keeps and applies rules.
type Retention interface {
	Rules(ctx context.Context) ([]retention.Rule, error)
	SetRule(ctx context.Context, r retention.Rule) error
	DeleteRule(ctx context.Context, name string) error
	Explain(ctx context.Context, topic string) ([]retention.Explanation, error)
	Apply(ctx context.Context) ([]Removal, error)
	Removals(ctx context.Context, topic string) ([]Removal, error)
	DryRun(ctx context.Context, d DryRun) (DryResult, error)
	StorageQuotas(ctx context.Context) ([]TenantQuota, error)
	SetStorageQuota(ctx context.Context, q retention.Quota) error
	DeleteStorageQuota(ctx context.Context, tenant string) error
}

// Archive shows and drives the archive.
type Archive interface {
	ArchiveStatus(ctx context.Context) (ArchiveStatus, error)
	ArchiveFiles(ctx context.Context, topic string) ([]ArchiveFile, error)
	// Flush archives everything confirmed so far and returns when it is in.
	Flush(ctx context.Context) error
	// Compact merges a topic's small data files now; those of all where it is "".
	Compact(ctx context.Context, topic string) (Compacted, error)
	// Trim frees what the archive has from the hot log, down to keep bytes.
	Trim(ctx context.Context, keep int64) (Trimmed, error)
	// Erase erases messages of a topic, Erasures gives the certificates of it.
	Erase(ctx context.Context, topic string, e Erase) (*proof.Certificate, error)
	Erasures(ctx context.Context, topic string) ([]Erasure, error)
}

// Erase says which messages of a topic are to be erased: those with a key, one
// by its message id, or one by queue and offset.
type Erase struct {
	Key    string `json:"key,omitempty"`
	MsgID  string `json:"msg_id,omitempty"`
	Queue  *int32 `json:"queue,omitempty"`
	Offset *int64 `json:"offset,omitempty"`
	Who    string `json:"who"`
	Why    string `json:"why"`
}

// Erasure is the certificate of an erasure, and how many of the data files that
// held the messages before are still in the bucket.
type Erasure struct {
	proof.Certificate
	OldFiles int `json:"old_files_left"`
}

// Quotas keeps what tenants may.
type Quotas interface {
	Quotas(ctx context.Context) ([]Quota, error)
	SetQuota(ctx context.Context, q Quota) error
	DeleteQuota(ctx context.Context, tenant string) error
}

// Codes of API errors.
const (
	CodeNotFound     = "not_found"
	CodeBadRequest   = "bad_request"
	CodeConflict     = "conflict"
	CodeLimit        = "limit"
	CodeRoleMissing  = "role_missing"
	CodeUnavailable  = "unavailable"
	CodeForbidden    = "forbidden"
	CodeUnauthorized = "unauthorized"
	CodeInternal     = "internal"
)

// Error is an error with its place in HTTP.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// NotFound is an error about a thing that isn't there.
func NotFound(format string, args ...any) error {
	return &Error{http.StatusNotFound, CodeNotFound, fmt.Sprintf(format, args...)}
}

// BadRequest is an error about what the caller asked for.
func BadRequest(format string, args ...any) error {
	return &Error{http.StatusBadRequest, CodeBadRequest, fmt.Sprintf(format, args...)}
}

// Conflict is an error about the state of the thing.
func Conflict(format string, args ...any) error {
	return &Error{http.StatusConflict, CodeConflict, fmt.Sprintf(format, args...)}
}

// OverLimit is an error about a limit that was reached.
func OverLimit(format string, args ...any) error {
	return &Error{http.StatusUnprocessableEntity, CodeLimit, fmt.Sprintf(format, args...)}
}

// NoRoom is an error about a disk that is full.
func NoRoom(format string, args ...any) error {
	return &Error{http.StatusInsufficientStorage, CodeLimit, fmt.Sprintf(format, args...)}
}

// Unavailable is an error about a part that can't work at the moment.
func Unavailable(format string, args ...any) error {
	return &Error{http.StatusServiceUnavailable, CodeUnavailable, fmt.Sprintf(format, args...)}
}

// asError gives any error its place.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case accessError(err) != nil:
		return accessError(err)
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{http.StatusGatewayTimeout, CodeLimit, "took longer than this request may: " + err.Error()}
	case errors.Is(err, context.Canceled):
		return &Error{http.StatusServiceUnavailable, CodeUnavailable, "stopped: " + err.Error()}
	}
	return &Error{http.StatusInternalServerError, CodeInternal, err.Error()}
}
