package app

import (
	"context"
	"fmt"
	"net/http"
	"net/http/pprof"

	"varve/history/catalog"
	"varve/internal/admin"
	"varve/internal/intake"
	"varve/internal/obs"
)

// openHTTP builds the HTTP port: health, metrics, API, and pprof where asked.
func (n *Node) openHTTP() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", n.front)
	mux.HandleFunc("GET /healthz", n.health.Live)
	mux.HandleFunc("GET /readyz", n.health.ServeReady)
	mux.Handle("GET /metrics", n.metrics.Handler())
	mux.Handle("/api/", admin.Handler(n.backend(), n.log))
	if n.history != nil {
		mux.Handle(catalog.Prefix+"/", n.catalog())
	}
	if n.cfg.HTTP.PProf {
		mux.HandleFunc("GET /debug/pprof/", n.supersOnly(pprof.Index))
		mux.HandleFunc("GET /debug/pprof/cmdline", n.supersOnly(pprof.Cmdline))
		mux.HandleFunc("GET /debug/pprof/profile", n.supersOnly(pprof.Profile))
		mux.HandleFunc("GET /debug/pprof/symbol", n.supersOnly(pprof.Symbol))
		mux.HandleFunc("GET /debug/pprof/trace", n.supersOnly(pprof.Trace))
	}
	n.onRun("http port", n.serveHTTP(mux))
}

// catalog lets engines attach to the archive.
func (n *Node) catalog() http.Handler {
	c := catalog.Config{Archive: n.archive, Auth: n.auth, Logger: n.log}
	if n.retainer != nil {
		c.Lease = n.leaseEngine
	}
	if n.cfg.Archive.Kind == "s3" {
		s3 := n.cfg.Archive.S3
		endpoint, insecure := s3Endpoint(s3)
		scheme := "https://"
		if insecure {
			scheme = "http://"
		}
		c.Properties = map[string]string{"s3.endpoint": scheme + endpoint}
		if s3.Region != "" {
			c.Properties["s3.region"], c.Properties["client.region"] = s3.Region, s3.Region
		}
		if s3.PathStyle {
			c.Properties["s3.path-style-access"] = "true"
		}
	}
	return catalog.Handler(c)
}

// supersOnly keeps everybody else out, where access control is on.
func (n *Node) supersOnly(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := n.auth.VerifyHTTP(r)
		switch {
		case err != nil:
			w.Header().Set("WWW-Authenticate", `Basic realm="varve"`)
			http.Error(w, err.Error(), http.StatusUnauthorized)
		case !id.Super:
			http.Error(w, "this is for super users", http.StatusForbidden)
		default:
			h(w, r)
		}
	}
}

// front says what else is at this port.
func (n *Node) front(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, `Varve %s, broker %s

GET  /healthz            is the process alive
GET  /readyz             is every part ready, or why not
GET  /metrics            Prometheus metrics
GET  /api/v1/status      what the process is doing, as JSON
GET  /api/v1/topics      topics; /api/v1/topics/TOPIC is one with its queues
GET  /api/v1/groups      consumer groups
GET  /api/v1/transactions  transactions in doubt
GET  /api/v1/archive     what is archived
GET  /api/v1/replays     replay jobs
POST /api/v1/sql         {"sql": "select ..."}: rows as NDJSON
GET  /iceberg/v1/config  the archive as an Iceberg REST catalog: uri http://.../iceberg

The command line uses the same API: varve help
`, n.version, n.cfg.Broker.Name)
}

// backend is what the API works on; a role that isn't run stays nil.
func (n *Node) backend() admin.Backend {
	b := admin.Backend{Status: n.status, Auth: n.auth}
	if n.broker != nil {
		b.Quotas, b.Schemas = quotaAPI{n}, schemaAPI{n}
		b.Topics, b.Groups, b.Messages, b.Transactions = topicAPI{n}, groupAPI{n}, messageAPI{n}, transactionAPI{n}
		b.Timers = timerAPI{n}
	}
	if n.readQuotas != nil {
		b.Quotas = readQuotaAPI{readQuotas{n.readQuotas}}
	}
	if n.connector != nil {
		b.Archive = archiveAPI{n}
	}
	if n.retainer != nil {
		b.Retention, b.Guards = retentionAPI{n}, guardAPI{n}
	}
	if n.query != nil {
		b.SQL = sqlAPI{n}
	}
	if n.replay != nil {
		b.Replay = replayAPI{n}
	}
	return b
}

func (n *Node) status(context.Context) admin.Status {
	s := admin.Status{
		Version: n.version, Broker: n.cfg.Broker.Name, Cluster: n.cfg.Cluster, Roles: n.cfg.Roles, DataDir: n.dir.root,
		Started: n.started.UTC(), Listen: map[string]string{},
	}
	s.Ready, s.Reason = n.health.Ready()
	for name, ln := range n.ports.all() {
		s.Listen[name] = ln.Addr().String()
	}
	if n.store != nil {
		st := n.store.Stats()
		s.HotBytes, s.HotStart, s.Confirmed, s.Archived = st.Bytes, st.FirstPhysical, st.Confirmed, st.ArchivedPhysical
	}
	return s
}

// registerMetrics names every figure that the parts give.
func (n *Node) registerMetrics() {
	m := n.metrics
	m.Gauge(obs.Ready, "1 if every part is ready", func() float64 {
		if ok, _ := n.health.Ready(); ok {
			return 1
		}
		return 0
	})
	m.Gauge(obs.IntakeBytes, "bytes of large requests that are being read, on all ports", func() float64 { return float64(intake.Process.Stats().Bytes) })
	m.Gauge(obs.IntakeWaiting, "large requests that wait for others to be read", func() float64 { return float64(intake.Process.Stats().Waiting) })
	n.accessMetrics()
	if n.store != nil {
		n.logMetrics()
	}
	switch {
	case n.broker != nil:
		n.quotaMetrics(n.broker.QuotaRefusals)
	case n.readQuotas != nil:
		n.quotaMetrics(n.readQuotas.Refused)
	}
	if n.broker != nil {
		n.brokerMetrics()
		n.grpcMetrics()
		n.mqhttpMetrics()
	}
	if n.connector != nil {
		n.connectorMetrics()
	}
	if n.compactor != nil {
		n.compactionMetrics()
	}
	if n.history != nil {
		n.historyMetrics()
	}
	if n.retainer != nil {
		n.guardMetrics()
	}
}
