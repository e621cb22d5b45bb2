package http

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"varve/broker"
)

// consumeHalf gives a producer half messages of a topic that it is to look up:
// it commits them or rolls them back by their handles.
//
// Behaviours: a half message comes when it is due to be checked, and again
// after NextConsumeTime for as long as nobody has ended it. The producer counts
// as online, and is asked, for a minute after each request.
func (f *Front) consumeHalf(c *call) error {
	group, err := c.group()
	if err != nil {
		return err
	}
	n, wait, err := c.howMuch()
	if err != nil {
		return err
	}
	found, err := f.questions.ask(c.r.Context(), c, group, n, wait)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return errNoMessages
	}
	x := newXML("Messages")
	for _, q := range found {
		h := halfHandle{Offset: q.half.Offset, Physical: q.half.Physical, Asked: true, Group: q.half.Group}
		x.message(q.half.Record, h.String(), delivery{
			first: q.asked.UnixMilli(), next: q.asked.Add(f.cfg.CheckInterval).UnixMilli(), times: int64(q.checks),
		})
	}
	_ = c.answer(http.StatusOK, x.end("Messages"))
	return nil
}

// endTransaction commits half messages or rolls them back.
//
// Behaviours: the handle says which half message it is, so that any producer of
// the topic can end it, after a restart of either side too; a consumer parameter
// isn't needed. A publish's handle is good for the time that the message set
// itself (MessageNotExist after it), one from a check for as long as the
// transaction is in doubt. The same end again is a success.
func (f *Front) endTransaction(c *call) error {
	texts, err := c.handles()
	if err != nil {
		return err
	}
	how := broker.TransactionCommit
	if c.query.Get("trans") == "rollback" {
		how = broker.TransactionRollback
	}
	failed := failures{}
	for _, text := range texts {
		h, err := parseHalfHandle(text)
		if err == nil {
			err = f.end(c.r.Context(), c.topic, h, how)
		}
		if err != nil {
			failed.add(text, err)
		}
	}
	return f.answerHandles(c, failed)
}

func (f *Front) end(ctx context.Context, topic string, h halfHandle, how broker.Resolution) error {
	return f.broker.EndTransaction(ctx, broker.EndTransaction{
		Group: h.Group, Topic: topic, HalfOffset: h.Offset, HalfPhysical: h.Physical, Resolution: how, FromCheck: h.Asked,
		Allow: func(half string) error {
			if half != topic { // the request was admitted for topic
				return fmt.Errorf("%w: the half message is of topic %q, not of %q", broker.ErrForbidden, half, topic)
			}
			return nil
		},
	})
}

// halfHandle names a half message: its places, whether it was given to be
// checked, and its producer group.
type halfHandle struct {
	Offset, Physical int64
	Asked            bool
	Group            string
}

// Words of a half message's handle.
const (
	wordHalf  = "half"
	wordSent  = "sent"
	wordAsked = "asked"
)

func (h halfHandle) String() string {
	how := wordSent
	if h.Asked {
		how = wordAsked
	}
	return fmt.Sprintf("%s %d %d %s %s", wordHalf, h.Offset, h.Physical, how, h.Group)
}

func parseHalfHandle(text string) (halfHandle, error) {
	words := strings.Split(text, " ")
	if len(words) != 5 || words[0] != wordHalf || words[3] != wordSent && words[3] != wordAsked || words[4] == "" {
		return halfHandle{}, refused(badHandle, "%q is no handle of a transaction", text)
	}
	offset, err1 := strconv.ParseUint(words[1], 10, 63)
	physical, err2 := strconv.ParseUint(words[2], 10, 63)
	if err1 != nil || err2 != nil {
		return halfHandle{}, refused(badHandle, "%q is no handle of a transaction", text)
	}
	return halfHandle{Offset: int64(offset), Physical: int64(physical), Asked: words[3] == wordAsked, Group: words[4]}, nil
}
