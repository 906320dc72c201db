// Package metrics tells Prometheus what the gate does.
//
// Names and labels are bounded: a label is a word of this program or of the policies' schema, never anything
// that a peer sent, an identity, a target or a policy's name. What a stranger does at the door changes numbers
// and makes no new series.
package metrics

import (
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sallyport-ssh/sallyport/replay"
)

// other stands for a word that is not among those a label may have.
const other = "other"

// The words that labels may have.
var (
	handshakeResults = []string{"ok", "failed", "refused", "turned_away"}
	sessionKinds     = []string{"shell", "exec", "subsystem", "forward", "gate"}
	effects          = []string{"allow", "deny", "hold"}
	outcomes         = []string{"approved", "denied", "expired", "withdrawn", "failed"}
	storeOps         = []string{"put", "get", "stat", "list", "delete", "purge"}
	ledgerOps        = []string{"read", "write"}
)

// Metrics are the gate's figures. Its methods are safe for concurrent use and return at once; all of them
// work on nil, and count nothing then.
type Metrics struct {
	registry *prometheus.Registry
	actions  []string

	handshakes  *prometheus.CounterVec
	handshake   prometheus.Histogram
	connections prometheus.Gauge
	sessions    *prometheus.GaugeVec
	opened      *prometheus.CounterVec
	decisions   *prometheus.CounterVec
	decision    prometheus.Histogram
	waiting     prometheus.Gauge
	holds       *prometheus.CounterVec
	masked      prometheus.Counter
	alarms      *prometheus.CounterVec
	storeCalls  *prometheus.CounterVec
	storeTime   *prometheus.HistogramVec
	ledgerTime  *prometheus.HistogramVec
	ledgerErrs  *prometheus.CounterVec
	purged      *prometheus.CounterVec
	eventsSent  *prometheus.CounterVec
	eventsFail  *prometheus.CounterVec
	eventsLag   *prometheus.GaugeVec
	policies    prometheus.Gauge
	refused     prometheus.Gauge
	hooksGone   *prometheus.CounterVec
}

// latencies are seconds from 50 us to 10 s.
var latencies = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// New returns figures that begin at zero. Actions are the words of the policies' schema.
func New(version string, actions []string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), actions: actions}
	m.door()
	m.evidence()
	m.approvals()
	build := m.gaugeVec("build_info", "Always 1; its labels say what runs.", "version", "go")
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Metrics) door() {
	m.handshakes = m.counterVec("handshakes_total", "SSH connections, by how their authentication ended.", handshakeResults, "result")
	m.handshake = m.histogram("handshake_seconds", "From the accepted connection to its proved identity.")
	m.connections = m.gauge("connections", "Authenticated SSH connections open now.")
	m.sessions = m.gaugeVec("sessions", "Sessions that run now.", "kind")
	m.opened = m.counterVec("sessions_total", "Sessions that were asked for.", sessionKinds, "kind")
	m.decisions = m.counterVec("decisions_total", "Decisions, by action of the policies' schema and by effect.", nil, "action", "effect")
	m.decision = m.histogram("decision_seconds", "One decision, with what is written down of it; without waiting for a human.")
	m.waiting = m.gauge("holds_waiting", "Operations that wait for an approval on this gate.")
	m.holds = m.counterVec("holds_total", "Operations that were held, by how that ended.", outcomes, "outcome")
	m.masked = m.counter("masked_total", "Values that were masked in output.")
	for _, kind := range sessionKinds {
		m.sessions.WithLabelValues(kind).Set(0)
	}
}

func (m *Metrics) evidence() {
	m.alarms = m.counterVec("recording_alarms_total", "Alarms of the recorder.", replay.Alarms, "what")
	m.storeCalls = m.counterVec("store_requests_total", "Requests to the store of recordings.", nil, "op", "result")
	m.storeTime = m.histogramVec("store_request_seconds", "Requests to the store of recordings.", storeOps, "op")
	m.ledgerTime = m.histogramVec("ledger_seconds", "Statements and transactions of the ledger.", ledgerOps, "op")
	m.ledgerErrs = m.counterVec("ledger_errors_total", "Statements and transactions of the ledger that failed.", ledgerOps, "op")
	m.purged = m.counterVec("recordings_purged_total", "Recordings whose time was over, by what became of them.", []string{"removed", "kept", "failed"}, "result")
	m.eventsSent = m.counterVec("events_sent_total", "Audit events that a sink has taken.", nil, "sink")
	m.eventsFail = m.counterVec("events_failures_total", "Attempts to hand audit events to a sink that failed; they are tried again.", nil, "sink")
	m.eventsLag = m.gaugeVec("events_behind_seconds", "Age of the oldest audit event that a sink has not taken.", "sink")
	m.counter("events_dropped_total", "Audit events given up. Zero by construction: a sink's cursor moves over what it has taken and nothing else.")
	for _, op := range storeOps {
		m.storeCalls.WithLabelValues(op, "ok").Add(0)
		m.storeCalls.WithLabelValues(op, "error").Add(0)
	}
}

// Handler serves the figures. With a token it wants it as `Authorization: Bearer`.
func (m *Metrics) Handler(token string) http.Handler {
	h := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
	if token == "" {
		return h
	}
	return bearer(token, h)
}

func (m *Metrics) known(words []string, word string) string {
	if slices.Contains(words, word) {
		return word
	}
	return other
}
