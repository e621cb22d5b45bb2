package connector

import "errors"

// Errors of the package, wrapped with the topic, queue or place.
var (
	// ErrForeignLog says that the archive holds positions of this broker group
	// that its log has never reached: the data directory is not the one that
	// was archived. Nothing is archived until that is put right.
	ErrForeignLog = errors.New("the archive is ahead of the hot log")
	// ErrStopped says that the connector is not running any more.
	ErrStopped = errors.New("connector has stopped")
	// ErrFailing says that something fails and is tried again, see Status.
	ErrFailing = errors.New("failing")
	// ErrBlocked says that a topic is not archived because its table can't be
	// read.
	ErrBlocked = errors.New("a topic could not be archived")
	// ErrGap says that the log goes on at a later offset than the archive
	// needs next, and that nobody's policy dropped what is between.
	ErrGap = errors.New("messages missing in the hot log")

	// ErrOlder says that the archive lacks messages that it had: it is older
	// than the log, or another one. A queue whose missing messages the log has
	// let go since is not archived until the right archive is back.
	ErrOlder = errors.New("the archive is older than the log")

	// errAgain ends a session so that a new one starts from the snapshots.
	errAgain = errors.New("archive changed under the connector")
)
