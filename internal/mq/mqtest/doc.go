// Package mqtest is the conformance suite of mq.Reader and mq.Finder. Every
// tier runs it:
//
//	mqtest.Run(t, func(t *testing.T, in []mq.Message) (mq.Reader, []mq.Message) { … })
//
// The factory stores the given messages in their order and returns a reader of
// them, with the messages as they were stored: only the physical offset may
// differ from what was given. If the reader is an mq.Finder too, the suite
// holds it to that as well.
package mqtest
