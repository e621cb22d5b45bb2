package obs

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Names of the metrics that parts give by a function.
const (
	HotBytes             = "varve_hot_bytes"
	HotSegments          = "varve_hot_segments"
	HotPending           = "varve_hot_pending_bytes"
	HotFreeDisk          = "varve_hot_free_disk_bytes"
	HotFailed            = "varve_hot_failed"
	HotAppended          = "varve_hot_appended_messages_total"
	HotAppendedBytes     = "varve_hot_appended_bytes_total"
	HotBatches           = "varve_hot_batches_total"
	HotSyncs             = "varve_hot_syncs_total"
	HotDamagedReads      = "varve_hot_damaged_reads_total"
	HotConfirmed         = "varve_hot_confirmed_position"
	BrokerSends          = "varve_broker_sends_total"
	BrokerSendErrors     = "varve_broker_send_errors_total"
	BrokerSentBytes      = "varve_broker_sent_bytes_total"
	BrokerPulls          = "varve_broker_pulls_total"
	BrokerPulled         = "varve_broker_pulled_messages_total"
	BrokerPulledBytes    = "varve_broker_pulled_bytes_total"
	BrokerColdReads      = "varve_broker_cold_reads_total"
	BrokerColdRouted     = "varve_broker_cold_routed_total"
	BrokerSendBacks      = "varve_broker_send_backs_total"
	BrokerDeadLetters    = "varve_broker_dead_letters_total"
	BrokerHeldPulls      = "varve_broker_held_pulls"
	BrokerPops           = "varve_broker_pops_total"
	BrokerPopped         = "varve_broker_popped_messages_total"
	BrokerPoppedBytes    = "varve_broker_popped_bytes_total"
	BrokerAcks           = "varve_broker_acks_total"
	BrokerPopRetries     = "varve_broker_pop_retries_total"
	BrokerPopInFlight    = "varve_broker_pop_in_flight"
	BrokerHeldPops       = "varve_broker_held_pops"
	BrokerDiffering      = "varve_broker_groups_differing"
	BrokerTimers         = "varve_broker_timers_pending"
	BrokerRecalls        = "varve_broker_recalls_total"
	BrokerTransactions   = "varve_broker_transactions_open"
	BrokerTxnCommits     = "varve_broker_transaction_commits_total"
	BrokerTxnRollbacks   = "varve_broker_transaction_rollbacks_total"
	BrokerTxnChecks      = "varve_broker_transaction_checks_total"
	BrokerTxnGivenUp     = "varve_broker_transactions_given_up_total"
	GRPCClients          = "varve_grpc_clients"
	GRPCConnections      = "varve_grpc_connections"
	GRPCRenewals         = "varve_grpc_renewed_handles"
	GRPCArriving         = "varve_grpc_arriving_bytes"
	GRPCShed             = "varve_grpc_shed_calls_total"
	IntakeBytes          = "varve_intake_bytes"
	IntakeWaiting        = "varve_intake_waiting"
	GRPCInLine           = "varve_grpc_sends_in_line"
	ClientsUnread        = "varve_clients_unread_bytes"
	MQHTTPConnections    = "varve_mqhttp_connections"
	MQHTTPRequests       = "varve_mqhttp_requests_total"
	MQHTTPRefused        = "varve_mqhttp_refused_total"
	MQHTTPQuestions      = "varve_mqhttp_questions"
	ConnectorLag         = "varve_connector_lag_bytes"
	ConnectorLagMessages = "varve_connector_lag_messages"
	ConnectorLagSeconds  = "varve_connector_lag_seconds"
	ConnectorRetrying    = "varve_connector_retrying"
	StateAge             = "varve_state_snapshot_age_seconds"
	ConnectorBytes       = "varve_connector_file_bytes_total"
	ConnectorCommits     = "varve_connector_commits_total"
	ConnectorMessages    = "varve_connector_messages_total"
	ConnectorFiles       = "varve_connector_files_total"
	ConnectorErrors      = "varve_connector_errors_total"
	CompactionMerges     = "varve_compaction_merges_total"
	CompactionFiles      = "varve_compaction_files_total"
	CompactionRead       = "varve_compaction_read_bytes_total"
	CompactionWritten    = "varve_compaction_written_bytes_total"
	CompactionErrors     = "varve_compaction_errors_total"
	CompactionPaused     = "varve_compaction_paused"
	CompactionLeft       = "varve_compaction_left_files"
	SweptObjects         = "varve_sweep_objects_total"
	SweptBytes           = "varve_sweep_bytes_total"
	SweptSnapshots       = "varve_sweep_snapshots_total"
	QuotaStored          = "varve_retention_quota_used_bytes"
	QuotaStorageLimit    = "varve_retention_quota_limit_bytes"
	HoldsActive          = "varve_holds_active"
	HoldsLocked          = "varve_holds_locked_files"
	HoldsUnlocked        = "varve_holds_unlocked_files"
	LeaseKept            = "varve_lease_kept_bytes"
	LeaseAlarm           = "varve_lease_alarm"
	ConnectorMemory      = "varve_connector_memory_bytes"
	HistoryMemoryHits    = "varve_history_memory_hits_total"
	HistoryDiskHits      = "varve_history_disk_hits_total"
	HistoryMisses        = "varve_history_misses_total"
	HistoryRequests      = "varve_history_requests_total"
	HistoryFetched       = "varve_history_fetched_bytes_total"
	HistoryMemory        = "varve_history_memory_bytes"
	HistoryDisk          = "varve_history_disk_bytes"
	HistoryBadFiles      = "varve_history_bad_files"
	AuthUnknown          = "varve_auth_unauthenticated_total"
	AuthDenied           = "varve_auth_denied_total"
	QuotaRefused         = "varve_quota_refused_total"
	Ready                = "varve_ready"
)

// Metrics is a process's registry.
type Metrics struct{ reg *prometheus.Registry }

// NewMetrics makes a registry with the figures of the Go runtime and the
// process.
func NewMetrics() *Metrics {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Metrics{reg}
}

// Gauge gives a value that goes up and down.
func (m *Metrics) Gauge(name, help string, f func() float64) {
	m.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
}

// Counter gives a value that only grows.
func (m *Metrics) Counter(name, help string, f func() float64) {
	m.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f))
}

// Counters gives several values that only grow, told apart by labels. f calls
// add for each, with the labels' values; the same ones must not come twice.
func (m *Metrics) Counters(name, help string, labels []string, f func(add func(value float64, labels ...string))) {
	m.reg.MustRegister(labelled{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue, f})
}

// Gauges is Counters for figures that fall too.
func (m *Metrics) Gauges(name, help string, labels []string, f func(add func(value float64, labels ...string))) {
	m.reg.MustRegister(labelled{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, f})
}

// labelled is a prometheus.Collector of one name.
type labelled struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	f    func(add func(value float64, labels ...string))
}

// Describe implements prometheus.Collector.
func (c labelled) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c labelled) Collect(ch chan<- prometheus.Metric) {
	c.f(func(value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.desc, c.kind, value, labels...)
	})
}

// Handler serves the registry.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
