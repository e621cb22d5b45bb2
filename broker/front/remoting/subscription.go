package remoting

import (
	"encoding/json"
	"strconv"
	"strings"

	"varve/broker"
)

// subscription is RocketMQ's SubscriptionData as clients send it.
type subscription struct {
	Topic       string    `json:"topic"`
	Expression  string    `json:"subString"`
	Type        string    `json:"expressionType"`
	Version     int64     `json:"subVersion"`
	Tags        []string  `json:"tagsSet"`
	Codes       []tagCode `json:"codeSet"`
	ClassFilter bool      `json:"classFilterMode"`
}

func (s *subscription) core() broker.Subscription {
	out := broker.Subscription{
		Topic: s.Topic, Expression: s.Expression, Type: s.Type, Version: s.Version,
		Tags: s.Tags, ClassFilter: s.ClassFilter,
	}
	for _, c := range s.Codes {
		out.Codes = append(out.Codes, int32(c))
	}
	return out
}

// tagCode is a tag's hash: a number from Java, a string from Go.
type tagCode int32

// UnmarshalJSON takes both forms.
func (c *tagCode) UnmarshalJSON(raw []byte) error {
	text := string(raw)
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
	}
	n, err := strconv.ParseInt(text, 10, 32)
	*c = tagCode(n)
	return err
}
