package broker

import (
	"context"

	"varve/internal/mq"
)

// Verdict is what became of a message that a client was given to try.
type Verdict int

// Verdicts.
const (
	VerdictConsumed  Verdict = iota
	VerdictLater             // it is to come again
	VerdictCorrupted         // the client couldn't read it
	VerdictNone              // the client gives none: its group consumes in order
)

// AskedClient is what a Client implements that administrators can ask, other
// than by requests of remoting that are relayed to it.
type AskedClient interface {
	// VerifyMessage has the client consume a message out of turn. The record
	// is its own.
	VerifyMessage(ctx context.Context, rec mq.Record) (Verdict, error)
	// StackTrace is what the client's threads do.
	StackTrace(ctx context.Context) (string, error)
}
