package replay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"varve/internal/expr"
	"varve/internal/mq"
)

// Spec says what is replayed. Times are store times in milliseconds.
type Spec struct {
	Source string `json:"source"` // topic, by wire name
	// Queues are the queue ids to read, on every broker group; none means all.
	Queues []int32 `json:"queues,omitempty"`
	// FromMillis is the first store time; 0 begins with the oldest message.
	FromMillis int64 `json:"from_millis,omitempty"`
	// ToMillis ends before that store time; 0 ends with the newest message
	// there is when the replay starts.
	ToMillis int64 `json:"to_millis,omitempty"`
	// FromOffset and ToOffset bound the offsets of every queue in the same
	// way, together with the times.
	FromOffset *int64 `json:"from_offset,omitempty"`
	ToOffset   *int64 `json:"to_offset,omitempty"`
	// Tag keeps messages of a tag, or of several: "a || b". "" and "*" keep
	// all.
	Tag string `json:"tag,omitempty"`
	// SQL keeps messages by their properties, in the language of package expr.
	SQL string `json:"sql,omitempty"`
	// SkipErased leaves out messages whose bodies were erased.
	SkipErased bool `json:"skip_erased,omitempty"`
	// MessagesPerSecond and BytesPerSecond slow the replay down; 0 doesn't.
	MessagesPerSecond int64 `json:"messages_per_second,omitempty"`
	BytesPerSecond    int64 `json:"bytes_per_second,omitempty"`
	// Destination is the topic that a job writes to. A stream has none.
	Destination string `json:"destination,omitempty"`
}

// ErrBadSpec is wrapped by every error that says what is wrong with a Spec.
var ErrBadSpec = errors.New("replay request")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadSpec, fmt.Sprintf(format, args...))
}

// check reports what is wrong with a spec and makes its filter.
func (s *Spec) check() (mq.Filter, error) {
	switch {
	case s.Source == "":
		return nil, bad("no source topic is named")
	case len(s.Destination) > mq.MaxTopicLen:
		return nil, bad("the destination's name is longer than %d bytes", mq.MaxTopicLen)
	case s.Destination == s.Source:
		return nil, bad("%s would be replayed into itself; name another topic", s.Source)
	case mq.SystemTopic(s.Destination):
		return nil, bad("%s is a system topic and can't be written to", s.Destination)
	case s.FromMillis < 0 || s.ToMillis < 0:
		return nil, bad("a time before 1970")
	case s.ToMillis > 0 && s.ToMillis <= s.FromMillis:
		return nil, bad("it ends before it begins: from %s to %s", instant(s.FromMillis), instant(s.ToMillis))
	case s.FromOffset != nil && *s.FromOffset < 0 || s.ToOffset != nil && *s.ToOffset < 0:
		return nil, bad("a negative offset")
	case s.FromOffset != nil && s.ToOffset != nil && *s.ToOffset <= *s.FromOffset:
		return nil, bad("it ends before it begins: from offset %d to %d", *s.FromOffset, *s.ToOffset)
	case s.MessagesPerSecond < 0 || s.BytesPerSecond < 0:
		return nil, bad("a negative rate")
	}
	return newFilter(s.Tag, s.SQL, s.SkipErased)
}

func instant(millis int64) string {
	return time.UnixMilli(millis).UTC().Format("2006-01-02T15:04:05.000Z")
}

// wants reports whether the spec names a queue id.
func (s *Spec) wants(id int32) bool { return len(s.Queues) == 0 || slices.Contains(s.Queues, id) }

// filter keeps messages by tag and properties.
type filter struct {
	tags   []string // none keeps all
	hashes []int64
	expr   *expr.Expr // may be nil
	whole  bool       // refuses messages that were erased
}

// newFilter gives nil where all messages are kept.
func newFilter(tag, sql string, whole bool) (mq.Filter, error) {
	f := &filter{whole: whole}
	if t := strings.TrimSpace(tag); t != "" && t != "*" {
		for _, one := range strings.Split(t, "||") {
			if one = strings.TrimSpace(one); one == "" {
				return nil, bad("an empty tag in %q", tag)
			}
			f.tags = append(f.tags, one)
			f.hashes = append(f.hashes, mq.TagHash(one))
		}
	}
	if strings.TrimSpace(sql) != "" {
		e, err := expr.Parse(sql)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadSpec, err)
		}
		f.expr = e
	}
	if f.tags == nil && f.expr == nil && !whole {
		return nil, nil
	}
	return f, nil
}

// MatchTag implements mq.Filter.
func (f *filter) MatchTag(hash int64) bool { return f.tags == nil || slices.Contains(f.hashes, hash) }

// MatchRecord implements mq.Filter.
func (f *filter) MatchRecord(r mq.Record) bool {
	if f.whole && len(r.Body()) == 0 {
		if _, erased := mq.Property(r.Properties(), mq.PropErased); erased {
			return false
		}
	}
	props := r.Properties()
	if f.tags != nil {
		tag, ok := mq.Property(props, mq.PropTags)
		if !ok || !slices.Contains(f.tags, string(tag)) {
			return false
		}
	}
	return f.expr == nil || f.expr.Match(props)
}
