package app

import (
	"sync"
	"time"

	"varve/broker"
	"varve/broker/front/grpc"
	mqhttp "varve/broker/front/http"
	"varve/broker/quota"
	"varve/connector"
	"varve/connector/compact"
	"varve/history"
	"varve/hot"
	"varve/internal/obs"
)

// sharedFor is for how long the figures of one look are given out, so that one
// collection looks once at what takes long with many queues.
const sharedFor = 500 * time.Millisecond

// shared makes one look serve all who ask soon after.
func shared[T any](look func() T) func() T {
	var mu sync.Mutex
	var last T
	var at time.Time
	return func() T {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(at) >= sharedFor {
			last, at = look(), time.Now()
		}
		return last
	}
}

func (n *Node) logMetrics() {
	m := n.metrics
	stat := func(f func(hot.Stats) int64) func() float64 {
		return func() float64 { return float64(f(n.store.Stats())) }
	}
	m.Gauge(obs.HotBytes, "bytes in the hot log's segments", stat(func(s hot.Stats) int64 { return s.Bytes }))
	m.Gauge(obs.HotSegments, "segments of the hot log", stat(func(s hot.Stats) int64 { return int64(s.Segments) }))
	m.Gauge(obs.HotPending, "bytes accepted and not yet written", stat(func(s hot.Stats) int64 { return s.PendingBytes }))
	m.Gauge(obs.HotFreeDisk, "free bytes of the log's disk", stat(func(s hot.Stats) int64 { return s.FreeBytes }))
	m.Gauge(obs.HotConfirmed, "end of the log that can be read", stat(func(s hot.Stats) int64 { return s.Confirmed }))
	m.Gauge(obs.HotFailed, "1 if the log takes no more messages", stat(func(s hot.Stats) int64 {
		if s.Failed != nil {
			return 1
		}
		return 0
	}))
	if n.tiers != nil {
		m.Counter(obs.HotDamagedReads, "reads that the archive answered because the log is damaged", func() float64 { return float64(n.tiers.StoodIn()) })
	}
	m.Counter(obs.HotAppended, "messages appended", stat(func(s hot.Stats) int64 { return s.Appended }))
	m.Counter(obs.HotAppendedBytes, "bytes appended", stat(func(s hot.Stats) int64 { return s.AppendedBytes }))
	m.Counter(obs.HotBatches, "commit batches", stat(func(s hot.Stats) int64 { return s.Batches }))
	m.Counter(obs.HotSyncs, "syncs of the log", stat(func(s hot.Stats) int64 { return s.Syncs }))
}

func (n *Node) brokerMetrics() {
	m := n.metrics
	stat := func(f func(broker.Stats) int64) func() float64 {
		return func() float64 { return float64(f(n.broker.Stats())) }
	}
	m.Counter(obs.BrokerSends, "messages taken from producers", stat(func(s broker.Stats) int64 { return s.Sends }))
	m.Counter(obs.BrokerSendErrors, "sends refused", stat(func(s broker.Stats) int64 { return s.SendErrors }))
	m.Counter(obs.BrokerSentBytes, "bytes taken from producers", stat(func(s broker.Stats) int64 { return s.SentBytes }))
	m.Counter(obs.BrokerPulls, "pulls answered", stat(func(s broker.Stats) int64 { return s.Pulls }))
	m.Counter(obs.BrokerPulled, "messages given to consumers", stat(func(s broker.Stats) int64 { return s.PulledMessages }))
	m.Counter(obs.BrokerPulledBytes, "bytes given to consumers", stat(func(s broker.Stats) int64 { return s.PulledBytes }))
	m.Counter(obs.BrokerColdReads, "pulls that the broker read from the archive", stat(func(s broker.Stats) int64 { return s.ColdReads }))
	m.Counter(obs.BrokerColdRouted, "pulls sent to the history node", stat(func(s broker.Stats) int64 { return s.ColdRouted }))
	m.Counter(obs.BrokerSendBacks, "messages to consume again", stat(func(s broker.Stats) int64 { return s.SendBacks }))
	m.Counter(obs.BrokerDeadLetters, "messages given up on", stat(func(s broker.Stats) int64 { return s.DeadLetters }))
	m.Gauge(obs.BrokerHeldPulls, "pulls that wait for a message", stat(func(s broker.Stats) int64 { return int64(s.HeldPulls) }))
	m.Counter(obs.BrokerRecalls, "delayed messages that were recalled", stat(func(s broker.Stats) int64 { return s.Recalls }))
	m.Gauge(obs.BrokerTimers, "delayed messages that are not due", stat(func(s broker.Stats) int64 { return s.TimersPending }))
	m.Counter(obs.BrokerPops, "POPs answered or waiting", stat(func(s broker.Stats) int64 { return s.Pops }))
	m.Counter(obs.BrokerPopped, "messages given to POP consumers", stat(func(s broker.Stats) int64 { return s.PoppedMessages }))
	m.Counter(obs.BrokerPoppedBytes, "bytes given to POP consumers", stat(func(s broker.Stats) int64 { return s.PoppedBytes }))
	m.Counter(obs.BrokerAcks, "acks of POP consumers", stat(func(s broker.Stats) int64 { return s.Acks }))
	m.Counter(obs.BrokerPopRetries, "messages that POP consumers didn't ack in time", stat(func(s broker.Stats) int64 { return s.PopRetries }))
	m.Gauge(obs.BrokerPopInFlight, "messages that POP consumers have", stat(func(s broker.Stats) int64 { return s.PopInFlight }))
	m.Gauge(obs.BrokerHeldPops, "POPs that wait for a message", stat(func(s broker.Stats) int64 { return int64(s.HeldPops) }))
	m.Gauge(obs.BrokerDiffering, "consumer groups whose members subscribe to different things", stat(func(s broker.Stats) int64 { return int64(s.GroupsDiffering) }))
	m.Gauge(obs.BrokerTransactions, "transactions in doubt", stat(func(s broker.Stats) int64 { return s.TransactionsOpen }))
	m.Counter(obs.BrokerTxnCommits, "transactions committed", stat(func(s broker.Stats) int64 { return s.TransactionCommits }))
	m.Counter(obs.BrokerTxnRollbacks, "transactions rolled back", stat(func(s broker.Stats) int64 { return s.TransactionRollbacks }))
	m.Counter(obs.BrokerTxnChecks, "questions to producers about their transactions", stat(func(s broker.Stats) int64 { return s.TransactionChecks }))
	m.Counter(obs.BrokerTxnGivenUp, "transactions that nobody ended", stat(func(s broker.Stats) int64 { return s.TransactionsGivenUp }))
}

// accessMetrics are what was refused.
func (n *Node) accessMetrics() {
	n.metrics.Counters(obs.AuthUnknown, "requests that didn't prove who they are from", []string{"protocol"}, func(add func(float64, ...string)) {
		for _, r := range n.auth.Refusals() {
			add(float64(r.Unknown), r.Protocol)
		}
	})
	n.metrics.Counters(obs.AuthDenied, "requests that their user may not make", []string{"protocol"}, func(add func(float64, ...string)) {
		for _, r := range n.auth.Refusals() {
			add(float64(r.Denied), r.Protocol)
		}
	})
}

func (n *Node) quotaMetrics(refused func() []quota.Refusal) {
	n.metrics.Counters(obs.QuotaRefused, "sends, reads and connections refused for their tenant's quota", []string{"tenant", "what"}, func(add func(float64, ...string)) {
		for _, r := range refused() {
			add(float64(r.Times), r.Tenant, r.What)
		}
	})
}

func (n *Node) grpcMetrics() {
	m := n.metrics
	stat := func(f func(grpc.Stats) int) func() float64 {
		return func() float64 { return float64(f(n.grpc.Stats())) }
	}
	m.Gauge(obs.GRPCClients, "gRPC clients that are known", stat(func(s grpc.Stats) int { return s.Clients }))
	m.Gauge(obs.GRPCConnections, "gRPC connections", stat(func(s grpc.Stats) int { return s.Connections }))
	m.Gauge(obs.GRPCRenewals, "receipt handles that are renewed for push consumers", stat(func(s grpc.Stats) int { return s.Renewals }))
	m.Gauge(obs.GRPCInLine, "sends of gRPC clients that wait until their connection has less than its share at the log", stat(func(s grpc.Stats) int { return s.InLine }))
	m.Gauge(obs.GRPCArriving, "bytes of gRPC calls that are not whole yet, over 128 KiB a connection, without large messages", func() float64 { return float64(n.grpc.Stats().Arriving) })
	m.Counter(obs.GRPCShed, "gRPC calls ended because their connection had too much arriving, or they took too long to arrive", func() float64 { return float64(n.grpc.Stats().Shed) })
	m.Gauge(obs.ClientsUnread, "bytes of messages that clients over gRPC and HTTP were given and have not read", func() float64 { return float64(n.unread.Bytes()) })
}

func (n *Node) mqhttpMetrics() {
	m := n.metrics
	stat := func(f func(mqhttp.Stats) int64) func() float64 {
		return func() float64 { return float64(f(n.mqhttp.Stats())) }
	}
	m.Gauge(obs.MQHTTPConnections, "connections of HTTP SDKs", stat(func(s mqhttp.Stats) int64 { return int64(s.Connections) }))
	m.Counter(obs.MQHTTPRequests, "requests of HTTP SDKs", stat(func(s mqhttp.Stats) int64 { return s.Requests }))
	m.Counter(obs.MQHTTPRefused, "requests of HTTP SDKs that were answered with an error", stat(func(s mqhttp.Stats) int64 { return s.Refused }))
	m.Gauge(obs.MQHTTPQuestions, "half messages that wait for a producer to look for them over HTTP", stat(func(s mqhttp.Stats) int64 { return int64(s.Questions) }))
}

func (n *Node) connectorMetrics() {
	m := n.metrics
	status := shared(n.connector.Status)
	stat := func(f func(connector.Status) int64) func() float64 {
		return func() float64 { return float64(f(status())) }
	}
	m.Gauge(obs.ConnectorLag, "log bytes that the archive doesn't have", stat(func(s connector.Status) int64 { return s.LagBytes }))
	m.Gauge(obs.ConnectorLagMessages, "messages that the archive doesn't have", stat(func(s connector.Status) int64 { return s.LagMessages }))
	m.Gauge(obs.ConnectorLagSeconds, "age of the oldest message that the archive doesn't have", func() float64 {
		return status().LagAge.Seconds()
	})
	m.Gauge(obs.ConnectorMemory, "bytes of staged records", stat(func(s connector.Status) int64 { return s.StagedBytes }))
	m.Gauge(obs.ConnectorRetrying, "1 while the bucket refuses or fails", stat(func(s connector.Status) int64 {
		if s.State == connector.Retrying {
			return 1
		}
		return 0
	}))
	m.Gauge(obs.StateAge, "seconds since the archive's bucket had all of the broker group's state: what a restore would lose of it", func() float64 {
		return n.backup.age().Seconds()
	})
	m.Counter(obs.ConnectorCommits, "commits", stat(func(s connector.Status) int64 { return s.Commits }))
	m.Counter(obs.ConnectorMessages, "messages committed", stat(func(s connector.Status) int64 { return s.Rows }))
	m.Counter(obs.ConnectorFiles, "files committed", stat(func(s connector.Status) int64 { return s.Files }))
	m.Counter(obs.ConnectorBytes, "bytes of committed files", stat(func(s connector.Status) int64 { return s.Bytes }))
	m.Counter(obs.ConnectorErrors, "failed attempts", stat(func(s connector.Status) int64 { return s.Failures }))
}

func (n *Node) compactionMetrics() {
	m := n.metrics
	stat := func(f func(compact.Status) int64) func() float64 {
		return func() float64 { return float64(f(n.compactor.Status())) }
	}
	m.Counter(obs.CompactionMerges, "merges of small data files", stat(func(s compact.Status) int64 { return s.Merges }))
	m.Counter(obs.CompactionFiles, "small data files that were merged", stat(func(s compact.Status) int64 { return s.FilesIn }))
	m.Counter(obs.CompactionRead, "bytes of the files that were merged", stat(func(s compact.Status) int64 { return s.BytesIn }))
	m.Counter(obs.CompactionWritten, "bytes of merged files", stat(func(s compact.Status) int64 { return s.BytesOut }))
	m.Counter(obs.CompactionErrors, "failed attempts", stat(func(s compact.Status) int64 { return s.Failures }))
	m.Gauge(obs.CompactionPaused, "1 while compaction waits for the connector, the bucket or the disk", stat(func(s compact.Status) int64 {
		if s.Paused != "" {
			return 1
		}
		return 0
	}))
	m.Gauge(obs.CompactionLeft, "data files that can't be merged", stat(func(s compact.Status) int64 { return int64(len(s.Left)) }))
}

func (n *Node) historyMetrics() {
	m := n.metrics
	stat := func(f func(history.CacheStats) int64) func() float64 {
		return func() float64 { return float64(f(n.history.Stats())) }
	}
	m.Counter(obs.HistoryMemoryHits, "reads answered from memory", stat(func(s history.CacheStats) int64 { return s.MemoryHits }))
	m.Counter(obs.HistoryDiskHits, "reads answered from the disk cache", stat(func(s history.CacheStats) int64 { return s.DiskHits }))
	m.Counter(obs.HistoryMisses, "reads that went to the bucket", stat(func(s history.CacheStats) int64 { return s.Misses }))
	m.Counter(obs.HistoryRequests, "requests to the bucket", stat(func(s history.CacheStats) int64 { return s.Requests }))
	m.Counter(obs.HistoryFetched, "bytes from the bucket", stat(func(s history.CacheStats) int64 { return s.FetchedBytes }))
	m.Gauge(obs.HistoryMemory, "cached bytes in memory", stat(func(s history.CacheStats) int64 { return s.MemoryBytes }))
	m.Gauge(obs.HistoryBadFiles, "data files that can't be read", func() float64 { return float64(len(n.history.BadFiles())) })
	swept := func(f func(history.SweepStatus) int64) func() float64 {
		return func() float64 { return float64(f(n.retainer.Swept())) }
	}
	m.Counter(obs.SweptObjects, "objects removed from the archive: data files and metadata that nobody needs", swept(func(s history.SweepStatus) int64 { return s.Objects }))
	m.Counter(obs.SweptBytes, "bytes of removed data files", swept(func(s history.SweepStatus) int64 { return s.Bytes }))
	m.Counter(obs.SweptSnapshots, "snapshots expired", swept(func(s history.SweepStatus) int64 { return s.Snapshots }))
	m.Gauge(obs.HistoryDisk, "cached bytes on disk", stat(func(s history.CacheStats) int64 { return s.DiskBytes }))
}
