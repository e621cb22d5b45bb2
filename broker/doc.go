// Package broker is what a message means: topics, groups, offsets,
// subscriptions, long polls, retries, delays. Fronts (remoting, gRPC and
// HTTP) decode a request, call one method of Broker, and encode what it gives
// back; nothing here knows a wire format. Messages are appended to the hot log
// and read through one mq.Reader, whichever tier holds them.
//
// Where things are:
//
//	send.go, batch.go     Submit: checks, topic creation, queue pick, delays
//	retry.go              SendBack, retry topics, dead letters
//	pull.go, wait.go      Pull and the table of held pulls
//	holding.go            what both tables of held requests share
//	cold.go               who is sent to the history node, who is read for
//	clients.go            heartbeats, membership, queue locks
//	offsets.go            progress, resets, offsets by time
//	topics.go, groups.go  settings and figures of topics and groups
//	popapi.go, pop.go     Pop, its requests, answers and shares
//	popturn.go            one attempt: queue by queue
//	popplace.go           where a group begins, resets, archived queues
//	popwait.go            the table of held pops
//	popawait.go           Pop for a caller that waits, and giving back what is lost
//	popack.go             acks, invisible time, retries, dead letters
//	popmode.go            pull or POP, and who gets which queues
//	find.go               single messages by id and by key
//	txn.go                transactions: half messages, their ends, questions
//
// The parts topic, group, offset, filter, timer, txn and pop never import each other.
//
// Invariants:
//   - done of Submit, of Pull and of Pop is called exactly once.
//   - A pull below the hot start never gets PullMoved while the archive has the
//     offset.
//   - No goroutine, timer or ticker exists per queue, per topic or per held
//     pull or pop.
//
// Lock order: waits.mu, popWaits.mu and coldRoutes.mu are leaves; no lock of this package
// is held while a Client, a done function, hot or meta is called.
package broker
