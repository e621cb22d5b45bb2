package http

import (
	"encoding/xml"
	"net/http"

	"varve/broker"
)

// maxHandleBytes bounds the body of a request with handles; the protocol has
// at most 16 of them.
const maxHandleBytes = 64 << 10

// handles is a request's body.
type handles struct {
	XMLName xml.Name `xml:"ReceiptHandles"`
	Handles []string `xml:"ReceiptHandle"`
}

func (c *call) handles() ([]string, error) {
	var h handles
	if err := decodeXML(c, maxHandleBytes, &h); err != nil {
		return nil, err
	}
	switch {
	case len(h.Handles) == 0:
		return nil, refused(missingHandle, "the request has no ReceiptHandle")
	case len(h.Handles) > maxMessages:
		return nil, refused(invalidArgument, "the request has %d receipt handles, want at most %d", len(h.Handles), maxMessages)
	}
	return h.Handles, nil
}

// ack ends deliveries: their messages come no more.
//
// Behaviours: the answer names the handles that failed, where one did. A handle
// whose time is over is MessageNotExist; one that is none is ReceiptHandleError.
func (f *Front) ack(c *call) error {
	group, err := c.group()
	if err != nil {
		return err
	}
	texts, err := c.handles()
	if err != nil {
		return err
	}
	failed := failures{}
	good := make([]broker.Handle, 0, len(texts))
	of := make([]string, 0, len(texts)) // good's texts
	for _, text := range texts {
		h, err := broker.ParseHandle(group, c.topic, text)
		if err != nil {
			failed.add(text, refused(badHandle, "%v", err))
			continue
		}
		good, of = append(good, h), append(of, text)
	}
	for i, err := range f.broker.Ack(c.r.Context(), group, good) {
		if err != nil {
			failed.add(of[i], err)
		}
	}
	return f.answerHandles(c, failed)
}

// failures are handles with why they failed.
type failures []failure

type failure struct {
	handle string
	err    error
}

func (l *failures) add(handle string, err error) { *l = append(*l, failure{handle, err}) }

// answerHandles answers a request with handles: 204 where nothing failed.
func (f *Front) answerHandles(c *call, failed failures) error {
	if len(failed) == 0 {
		_ = c.answer(http.StatusNoContent, nil)
		return nil
	}
	f.refused.Add(1)
	x := newXML("Errors")
	for _, e := range failed {
		f.logInternal(c, e.err)
		x.open("Error")
		x.text("ErrorCode", codeOf(e.err).name)
		x.text("ErrorMessage", e.err.Error())
		x.text("ReceiptHandle", e.handle)
		x.close("Error")
	}
	_ = c.answer(http.StatusNotFound, x.end("Errors"))
	return nil
}
