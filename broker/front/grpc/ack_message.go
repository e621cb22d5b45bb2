package grpc

import (
	"context"

	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"

	"varve/broker"
)

// AckMessage ends deliveries.
//
// Behaviours: each entry has a result of its own. A handle that is no handle,
// or whose message was taken back, is INVALID_RECEIPT_HANDLE: clients don't
// try it again.
func (f *Front) AckMessage(ctx context.Context, req *v2.AckMessageRequest) (*v2.AckMessageResponse, error) {
	entries, err := f.ack(ctx, req)
	if err != nil {
		return &v2.AckMessageResponse{Status: f.status("AckMessage", err)}, nil
	}
	out := &v2.AckMessageResponse{Entries: entries}
	if len(entries) == 1 {
		out.Status = entries[0].Status
		return out, nil
	}
	results := map[v2.Code]struct{}{}
	for _, e := range entries {
		results[e.Status.Code] = struct{}{}
	}
	out.Status = worst(results)
	return out, nil
}

func (f *Front) ack(ctx context.Context, req *v2.AckMessageRequest) ([]*v2.AckMessageResultEntry, error) {
	who, err := f.admit(ctx, req)
	if err != nil {
		return nil, err
	}
	topic, group, err := topicAndGroup(req.GetTopic(), req.GetGroup())
	if err != nil {
		return nil, err
	}
	if len(req.GetEntries()) == 0 {
		return nil, refused(v2.Code_BAD_REQUEST, "the call has no receipt handle")
	}
	c := f.clients.get(who.id)
	out := make([]*v2.AckMessageResultEntry, len(req.GetEntries()))
	handles := make([]broker.Handle, 0, len(out))
	of := make([]int, 0, len(out)) // handles' places in out
	for i, e := range req.GetEntries() {
		out[i] = &v2.AckMessageResultEntry{MessageId: e.GetMessageId(), ReceiptHandle: e.GetReceiptHandle(), Status: statusOK}
		h, err := c.handle(group, topic, e.GetReceiptHandle())
		if err != nil {
			out[i].Status = f.status("AckMessage", err)
			continue
		}
		handles, of = append(handles, h), append(of, i)
	}
	if len(handles) == 0 {
		return out, nil
	}
	for i, err := range f.broker.Ack(ctx, group, handles) {
		if err != nil {
			out[of[i]].Status = f.status("AckMessage", err)
		}
	}
	return out, nil
}

// handle reads a receipt handle, and ends its renewing: the handle that took
// its place counts.
func (c *client) handle(group, topic, text string) (broker.Handle, error) {
	if h, ok := c.take(text); ok {
		return h, nil
	}
	h, err := broker.ParseHandle(group, topic, text)
	if err != nil {
		return h, refused(v2.Code_INVALID_RECEIPT_HANDLE, "%v", err)
	}
	return h, nil
}
