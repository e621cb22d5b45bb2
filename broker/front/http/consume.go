package http

import (
	"net/http"
	"strconv"
	"time"

	"varve/broker"
)

// Bounds of a consume, as the protocol has them.
const (
	maxMessages = 16
	maxWait     = 30 * time.Second
)

// consume gives a group's consumer messages of a topic, to be acked before
// NextConsumeTime: then they come again.
//
// Behaviours: none within waitseconds is MessageNotExist. With trans=order, or
// for a group that consumes in order, each queue gives out one batch at a time,
// the next one when all of it is acked.
func (f *Front) consume(c *call) error {
	group, err := c.group()
	if err != nil {
		return err
	}
	n, wait, err := c.howMuch()
	if err != nil {
		return err
	}
	p := &broker.PopRequest{
		Group: group, Topic: c.topic, QueueID: broker.AnyQueue, MaxMessages: n, Wait: wait,
		Invisible: f.cfg.Invisible, Expression: c.query.Get("tag"),
	}
	if g, ok := f.broker.Group(group); c.query.Get("trans") == "order" || ok && g.Orderly {
		p.Ordered, p.Invisible = true, f.cfg.InvisibleOrdered
	}
	leave, err := f.members.join(c, group)
	if err != nil {
		return err
	}
	defer leave()
	unread := f.cfg.Backlog.Conn()
	p.Backlog = unread
	r, err := f.broker.AwaitPop(c.r.Context(), p)
	if err != nil {
		return err
	}
	switch {
	case r.Status == broker.PopFull:
		return refused(throttled, "group %q has too many unacked messages, or too many of its consumers wait", group)
	case len(r.Messages) == 0:
		return errNoMessages
	}
	x := newXML("Messages")
	for i := range r.Messages {
		x.popped(&r.Messages[i])
	}
	text := x.end("Messages")
	written := unread.Carry(len(text), nil)
	r.Free() // it has its messages, for they were counted; of them only the handles are needed now
	err = c.answer(http.StatusOK, text)
	written()
	if (err != nil || c.r.Context().Err() != nil) && !p.Ordered {
		for i := range r.Messages {
			f.broker.GiveBack(group, r.Messages[i].Handle)
		}
	}
	return nil
}

// howMuch reads the parameters that every consume has.
func (c *call) howMuch() (n int, wait time.Duration, err error) {
	if n, err = c.number("numOfMessages", 1, 1, maxMessages); err != nil {
		return 0, 0, err
	}
	s, err := c.number("waitseconds", 0, 0, int(maxWait/time.Second))
	return n, time.Duration(s) * time.Second, err
}

func (c *call) number(name string, none, least, most int) (int, error) {
	text := c.query.Get(name)
	if text == "" {
		return none, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, refused(invalidArgument, "parameter %s is %q, want %d to %d", name, text, least, most)
	}
	return n, nil
}
