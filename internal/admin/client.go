package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"varve/internal/proof"
	"varve/internal/retention"
)

// Client calls the API of a process.
type Client struct {
	base string
	http *http.Client
	err  error // why the address is none

	user, password string
}

// ErrNoServer says that nothing answers at the address.
var ErrNoServer = errors.New("no Varve server answers")

// ErrAddress says that a server's address can't be one.
var ErrAddress = errors.New("not a server's address")

// NewClient takes the address of a process's HTTP port, as host:port or URL.
// With an impossible one every call fails with ErrAddress.
func NewClient(address string) *Client {
	base := address
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	c := &Client{base: strings.TrimSuffix(base, "/"), http: &http.Client{}}
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || !portOK(u.Port()) {
		c.err = fmt.Errorf("%q is %w: want host:port or a URL, such as 127.0.0.1:8082", address, ErrAddress)
	}
	return c
}

func portOK(port string) bool {
	if port == "" {
		return true
	}
	n, err := strconv.Atoi(port)
	return err == nil && n > 0 && n < 1<<16
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, in any) (*http.Response, error) {
	if c.err != nil {
		return nil, c.err
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request for %s: %w", path, err)
		}
		body = bytes.NewReader(b)
	}
	u := c.base + "/api/v1" + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, err
	}
	if c.user != "" {
		req.SetBasicAuth(c.user, c.password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return nil, fmt.Errorf("%w at %s (start one with `varve server`, or name another with --server): %w", ErrNoServer, c.base, op)
		}
		return nil, fmt.Errorf("server at %s: %w", c.base, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	var e struct {
		Error *Error `json:"error"`
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if json.Unmarshal(text, &e) != nil || e.Error == nil {
		return nil, fmt.Errorf("%w at %s: %s %s answered %s", ErrNoServer, c.base, method, path, resp.Status)
	}
	e.Error.Status = resp.StatusCode
	return nil, e.Error
}

func call[T any](ctx context.Context, c *Client, method, path string, q url.Values, in any) (T, error) {
	var out T
	resp, err := c.do(ctx, method, path, q, in)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return out, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("answer to %s %s: %w", method, path, err)
	}
	return out, nil
}

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	return call[T](ctx, c, http.MethodGet, path, q, nil)
}

// Status asks what the process is doing.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/status", nil)
}

// Topics lists the topics.
func (c *Client) Topics(ctx context.Context) ([]Topic, error) {
	return get[[]Topic](ctx, c, "/topics", nil)
}

// Topic shows one topic.
func (c *Client) Topic(ctx context.Context, name string) (TopicDetail, error) {
	return get[TopicDetail](ctx, c, "/topics/"+url.PathEscape(name), nil)
}

// CreateTopic makes a topic or changes its number of queues.
func (c *Client) CreateTopic(ctx context.Context, s TopicSpec) (Topic, error) {
	return call[Topic](ctx, c, http.MethodPost, "/topics", nil, s)
}

// DeleteTopic removes a topic.
func (c *Client) DeleteTopic(ctx context.Context, name string) error {
	_, err := call[any](ctx, c, http.MethodDelete, "/topics/"+url.PathEscape(name), nil, nil)
	return err
}

// Groups lists the consumer groups.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	return get[[]Group](ctx, c, "/groups", nil)
}

// Group shows one consumer group.
func (c *Client) Group(ctx context.Context, name string) (GroupDetail, error) {
	return get[GroupDetail](ctx, c, "/groups/"+url.PathEscape(name), nil)
}

// ResetGroup moves a group's offsets.
func (c *Client) ResetGroup(ctx context.Context, name string, r Reset) ([]GroupOffset, error) {
	return call[[]GroupOffset](ctx, c, http.MethodPost, "/groups/"+url.PathEscape(name)+"/reset", nil, r)
}

// DeleteGroup forgets a group and its offsets.
func (c *Client) DeleteGroup(ctx context.Context, name string) error {
	_, err := call[any](ctx, c, http.MethodDelete, "/groups/"+url.PathEscape(name), nil, nil)
	return err
}

// MessageByID finds one message.
func (c *Client) MessageByID(ctx context.Context, topic, id string) (Message, error) {
	q := url.Values{}
	if topic != "" {
		q.Set("topic", topic)
	}
	return get[Message](ctx, c, "/messages/"+url.PathEscape(id), q)
}

// MessagesByKey finds messages by key.
func (c *Client) MessagesByKey(ctx context.Context, s KeySearch) ([]Message, error) {
	q := url.Values{"topic": {s.Topic}, "key": {s.Key}}
	if s.Unique {
		q.Set("unique", "true")
	}
	setTime(q, "from", s.From)
	setTime(q, "to", s.To)
	setNumber(q, "max", int64(s.Max))
	return get[[]Message](ctx, c, "/messages", q)
}

// ReadMessages reads a part of a queue.
func (c *Client) ReadMessages(ctx context.Context, s Stretch) (Page, error) {
	q := url.Values{"queue": {strconv.Itoa(int(s.Queue))}, "offset": {strconv.FormatInt(s.Offset, 10)}}
	for name, v := range map[string]string{"broker": s.Broker, "tags": s.Tags, "sql": s.SQL} {
		if v != "" {
			q.Set(name, v)
		}
	}
	setTime(q, "from", s.From)
	setNumber(q, "max", int64(s.Max))
	return get[Page](ctx, c, "/topics/"+url.PathEscape(s.Topic)+"/messages", q)
}

func setTime(q url.Values, name string, t time.Time) {
	if !t.IsZero() {
		q.Set(name, t.UTC().Format(time.RFC3339Nano))
	}
}

func setNumber(q url.Values, name string, n int64) {
	if n != 0 {
		q.Set(name, strconv.FormatInt(n, 10))
	}
}

// SendMessage sends one message.
func (c *Client) SendMessage(ctx context.Context, m Outgoing) (Sent, error) {
	return call[Sent](ctx, c, http.MethodPost, "/messages", nil, m)
}

// DeadLetters lists the groups that have dead letters.
func (c *Client) DeadLetters(ctx context.Context) ([]DeadLetters, error) {
	return get[[]DeadLetters](ctx, c, "/dlq", nil)
}

// ResendDeadLetters gives dead letters back to their group.
func (c *Client) ResendDeadLetters(ctx context.Context, group string, r Resend) (Resent, error) {
	return call[Resent](ctx, c, http.MethodPost, "/dlq/"+url.PathEscape(group)+"/resend", nil, r)
}

// Query runs one SQL query and hands its rows over as they come.
func (c *Client) Query(ctx context.Context, r SQLRequest, columns func([]Column) error, row func([]any) error) (SQLEnd, error) {
	resp, err := c.do(ctx, http.MethodPost, "/sql", nil, r)
	if err != nil {
		return SQLEnd{}, err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(bufio.NewReaderSize(resp.Body, 64<<10))
	dec.UseNumber()
	for {
		var l streamLine
		if err := dec.Decode(&l); err != nil {
			return SQLEnd{}, fmt.Errorf("answer ended before its last line: %w", err)
		}
		switch {
		case l.Error != nil:
			return SQLEnd{}, l.Error
		case l.End != nil:
			return *l.End, nil
		case l.Columns != nil:
			err = columns(l.Columns)
		default:
			err = row(l.Row)
		}
		if err != nil {
			return SQLEnd{}, err
		}
	}
}

// StartReplay starts a replay job.
func (c *Client) StartReplay(ctx context.Context, s ReplaySpec) (ReplayJob, error) {
	return call[ReplayJob](ctx, c, http.MethodPost, "/replays", nil, s)
}

// Replays lists the replay jobs.
func (c *Client) Replays(ctx context.Context) ([]ReplayJob, error) {
	return get[[]ReplayJob](ctx, c, "/replays", nil)
}

// ReplayJob shows one replay job.
func (c *Client) ReplayJob(ctx context.Context, id string) (ReplayJob, error) {
	return get[ReplayJob](ctx, c, "/replays/"+url.PathEscape(id), nil)
}

// AwaitReplay returns when a job is no longer active.
func (c *Client) AwaitReplay(ctx context.Context, id string) (ReplayJob, error) {
	for {
		j, err := get[ReplayJob](ctx, c, "/replays/"+url.PathEscape(id), url.Values{"wait": {"true"}})
		if err != nil || !j.Active() {
			return j, err
		}
	}
}

// ReplayAction pauses, resumes or cancels a job.
func (c *Client) ReplayAction(ctx context.Context, id, action string) (ReplayJob, error) {
	return call[ReplayJob](ctx, c, http.MethodPost, "/replays/"+url.PathEscape(id)+"/"+action, nil, nil)
}

// StreamReplay copies the NDJSON of a range to w.
func (c *Client) StreamReplay(ctx context.Context, s ReplaySpec, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodPost, "/replay-stream", nil, s)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := copyLines(w, resp.Body); err != nil {
		return fmt.Errorf("replay of %s was cut off: %w", s.Topic, err)
	}
	return nil
}

// errorLine is how the line begins that says why a stream ends early; no
// message's does.
const errorLine = `{"error":`

// copyLines copies NDJSON up to its end or an error's line, which it returns.
func copyLines(w io.Writer, r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for fresh := true; ; {
		if fresh {
			if start, _ := in.Peek(len(errorLine)); string(start) == errorLine {
				var l streamLine
				if err := json.NewDecoder(in).Decode(&l); err != nil || l.Error == nil {
					return fmt.Errorf("its last line says no reason: %w", errors.Join(err, io.ErrUnexpectedEOF))
				}
				return l.Error
			}
		}
		part, err := in.ReadSlice('\n')
		if _, werr := w.Write(part); werr != nil {
			return werr
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull), err == nil:
			fresh = err == nil
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

// Rules lists the retention rules.
func (c *Client) Rules(ctx context.Context) ([]retention.Rule, error) {
	return get[[]retention.Rule](ctx, c, "/retention/rules", nil)
}

// SetRule makes or replaces a rule.
func (c *Client) SetRule(ctx context.Context, r retention.Rule) error {
	_, err := call[retention.Rule](ctx, c, http.MethodPut, "/retention/rules/"+url.PathEscape(r.Name), nil, r)
	return err
}

// DeleteRule removes a rule.
func (c *Client) DeleteRule(ctx context.Context, name string) error {
	_, err := call[any](ctx, c, http.MethodDelete, "/retention/rules/"+url.PathEscape(name), nil, nil)
	return err
}

func topicQuery(topic string) url.Values {
	if topic == "" {
		return nil
	}
	return url.Values{"topic": {topic}}
}

// Explain says what would go.
func (c *Client) Explain(ctx context.Context, topic string) ([]retention.Explanation, error) {
	return get[[]retention.Explanation](ctx, c, "/retention/explain", topicQuery(topic))
}

// Apply applies the rules at once.
func (c *Client) Apply(ctx context.Context) ([]Removal, error) {
	return call[[]Removal](ctx, c, http.MethodPost, "/retention/apply", nil, nil)
}

// Removals lists what went.
func (c *Client) Removals(ctx context.Context, topic string) ([]Removal, error) {
	return get[[]Removal](ctx, c, "/retention/removals", topicQuery(topic))
}

// ArchiveStatus shows the archive.
func (c *Client) ArchiveStatus(ctx context.Context) (ArchiveStatus, error) {
	return get[ArchiveStatus](ctx, c, "/archive", nil)
}

// ArchiveFiles lists a topic's data files.
func (c *Client) ArchiveFiles(ctx context.Context, topic string) ([]ArchiveFile, error) {
	return get[[]ArchiveFile](ctx, c, "/archive/"+url.PathEscape(topic)+"/files", nil)
}

// Erase erases messages of a topic.
func (c *Client) Erase(ctx context.Context, topic string, e Erase) (proof.Certificate, error) {
	return call[proof.Certificate](ctx, c, http.MethodPost, "/archive/"+url.PathEscape(topic)+"/erasures", nil, e)
}

// Erasures gives the certificates of a topic's erasures.
func (c *Client) Erasures(ctx context.Context, topic string) ([]Erasure, error) {
	return get[[]Erasure](ctx, c, "/archive/"+url.PathEscape(topic)+"/erasures", nil)
}

// Flush archives everything confirmed so far.
func (c *Client) Flush(ctx context.Context) error {
	_, err := call[any](ctx, c, http.MethodPost, "/archive/flush", nil, nil)
	return err
}

// Compact merges a topic's small data files now; those of all where it is "".
func (c *Client) Compact(ctx context.Context, topic string) (Compacted, error) {
	return call[Compacted](ctx, c, http.MethodPost, "/archive/compact", url.Values{"topic": {topic}}, nil)
}

// Trim frees what the archive has from the hot log.
func (c *Client) Trim(ctx context.Context, keep int64) (Trimmed, error) {
	return call[Trimmed](ctx, c, http.MethodPost, "/hot/trim", url.Values{"keep_bytes": {strconv.FormatInt(keep, 10)}}, nil)
}
